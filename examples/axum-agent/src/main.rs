//! A web service that is an agent: ready when it serves, stalled when its runtime is blocked, and
//! `stopping` from SIGTERM on, while requests in flight finish.

use std::error::Error;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use ready_probe_sdk::{Agent, TokioAgent};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Before the agent can be seen: whoever sees it may end it at once.
    let signals = Signals::new([SIGTERM, SIGINT])?;
    // From here on the container's health check says `starting`.
    let agent = Agent::builder("translator")
        .watchdog(Duration::from_secs(5))
        .register_on_tokio()?;
    let mut stopped = on_signal(signals, agent.clone());

    let seconds = std::env::var("LOAD_SECONDS").map_or(Ok(0), |text| text.parse::<u64>());
    let seconds = seconds.map_err(|e| format!("LOAD_SECONDS: {e}"))?;
    tokio::select! {
        () = load_model(Duration::from_secs(seconds)) => {}
        _ = &mut stopped => return Ok(agent.close("stopped").await?),
    }

    let address = std::env::var("ADDRESS").unwrap_or_else(|_| "0.0.0.0:8080".to_owned());
    let listener = TcpListener::bind(&address).await?;
    let port = listener.local_addr()?.port();
    let service = Router::new()
        .route("/translate/{text}", get(translate))
        .route("/slow/{ms}", get(slow))
        .route("/block/{ms}", get(block));
    agent.mark_ready(serde_json::json!({ "port": port }))?;
    println!("serving on port {port}");

    // Returns when the last request in flight is answered.
    axum::serve(listener, service)
        .with_graceful_shutdown(async { drop(stopped.await) })
        .await?;
    agent.close("stopped").await?;
    Ok(())
}

/// Says `stopping` at the first signal, at once and also while the runtime is busy, and then tells the
/// server. A second one ends the process.
fn on_signal(mut signals: Signals, agent: TokioAgent) -> oneshot::Receiver<()> {
    let (stop, stopped) = oneshot::channel();
    thread::spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            if let Err(e) = agent.mark_stopping("told to stop") {
                eprintln!("{}: {e}", agent.name());
            }
            // The server may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(signal) = signals.next() {
            std::process::exit(128 + signal);
        }
    });
    stopped
}

/// Stands for the minutes that a real agent reads gigabytes in.
async fn load_model(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn translate(Path(text): Path<String>) -> String {
    text.chars().rev().collect::<String>().to_uppercase()
}

/// Takes its time, as a handler should: the runtime runs others meanwhile.
async fn slow(Path(ms): Path<u64>) -> &'static str {
    println!("working for {ms} ms");
    tokio::time::sleep(Duration::from_millis(ms)).await;
    "done\n"
}

/// Takes its time as no handler should: a thread of the runtime is blocked meanwhile.
async fn block(Path(ms): Path<u64>) -> &'static str {
    thread::sleep(Duration::from_millis(ms));
    "done\n"
}
