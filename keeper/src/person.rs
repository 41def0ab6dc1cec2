//! `pause`, `resume`, `restart`, `reset`: an order is written down, and waited for until the keeper has taken it.

use std::path::Path;
use std::time::Duration;

use ready_probe::redact::shown;
use ready_probe_sdk::clock;

use crate::cli;
use crate::exit::{LATER, NOT_WORKING, OK, Refusal, print};
use crate::machine::{Marker, Phase};
use crate::markers;
use crate::memory::{self, Kept, Wants};
use crate::orders::{Order, Orders, Pause};
use crate::services::is_name;

/// How long a keeper may take to take it: a second, unless its machine is busy.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// Leaves a service alone.
pub fn pause(options: &cli::PauseOptions) -> Result<u8, Refusal> {
    let (name, dir) = (&options.named.name, &options.named.state.dir);
    let (orders, is_known) = open(name, dir)?;
    let now_ms = clock::wall_ms();
    let pause = Pause {
        until_ms: options
            .duration
            .map(|duration| now_ms.saturating_add(clock::millis(duration))),
        reason: options.reason.clone(),
    };
    let until = pause.until().unwrap_or_default();
    orders
        .write_pause(name, &pause)
        .map_err(|e| unwritten(dir, &e))?;
    let done = format!("{name} is paused{until}");
    wait(dir, is_known, &done, &|kept| {
        phase(kept, name) == Some(Phase::Paused)
    })
}

/// Looks after it again.
pub fn resume(options: &cli::Resume) -> Result<u8, Refusal> {
    let (name, dir) = (&options.named.name, &options.named.state.dir);
    let (orders, is_known) = open(name, dir)?;
    let was_paused = orders.end_pause(name).map_err(|e| unwritten(dir, &e))?;
    match markers::look(&options.markers.dir, name) {
        Marker::Absent => {}
        Marker::Present | Marker::Unreadable => {
            let marker = markers::file(&options.markers.dir, name);
            let marker = marker.display();
            print(&format!(
                "{name} is still stopped by a person: rm {marker}\n"
            ))?;
            return Ok(NOT_WORKING);
        }
    }
    if !was_paused {
        print(&format!("{name} was not paused\n"))?;
        return Ok(OK);
    }
    let done = format!("{name} is looked after again");
    wait(dir, is_known, &done, &|kept| {
        phase(kept, name) != Some(Phase::Paused)
    })
}

/// Has something done once.
pub fn order(options: &cli::Named, order: Order) -> Result<u8, Refusal> {
    let (name, dir) = (&options.name, &options.state.dir);
    let (orders, is_known) = open(name, dir)?;
    let holder = memory::holder(dir);
    let kept = memory::look(dir, holder.as_ref())?.unwrap_or_default();
    let is_paused = phase(&kept, name) == Some(Phase::Paused);
    if order == Order::Restart && is_paused {
        return Err(Refusal {
            status: NOT_WORKING,
            why: format!("{name} is paused: ready-keeper resume {name}"),
        });
    }
    orders.give(name, order).map_err(|e| unwritten(dir, &e))?;
    let done = match order {
        Order::Restart => format!("{name} is restarted, as soon as no other is"),
        Order::Reset => format!("restarts and failures of {name} so far are forgotten"),
    };
    if holder.is_some_and(|holder| holder.is_dry) {
        print(&format!(
            "{done}: written for the next ready-keeper, since the one at work is a dry run\n"
        ))?;
        return Ok(OK);
    }
    wait(dir, is_known, &done, &|_| !orders.is_given(name, order))
}

/// Where orders for this service are written, and whether there is such a service.
fn open(name: &str, dir: &Path) -> Result<(Orders, bool), Refusal> {
    memory::make_folder(dir, Wants::ToOrder)?;
    let holder = memory::holder(dir);
    let Some(kept) = memory::look(dir, holder.as_ref())? else {
        if !is_name(name) {
            return Err(Refusal::usage(format!(
                "{} is no name of a service",
                shown(name)
            )));
        }
        return Ok((Orders::beside(dir), false));
    };
    if !kept.here().any(|(known, _)| known == name) {
        let names: Vec<&str> = kept.here().map(|(known, _)| known.as_str()).collect();
        return Err(Refusal::usage(format!(
            "there is no service {}; there are: {}",
            shown(name),
            names.join(", ")
        )));
    }
    Ok((Orders::beside(dir), true))
}

fn unwritten(dir: &Path, e: &std::io::Error) -> Refusal {
    format!("{}: it can't be written: {e}", dir.display()).into()
}

fn phase(kept: &Kept, name: &str) -> Option<Phase> {
    kept.services.get(name).map(|state| state.phase)
}

/// Waits until a keeper has taken it, if one is at work.
fn wait(
    dir: &Path,
    is_known: bool,
    done: &str,
    is_taken: &dyn Fn(&Kept) -> bool,
) -> Result<u8, Refusal> {
    let by = clock::instant() + PATIENCE;
    loop {
        // In this order: one that ends after it has taken an order has taken it.
        let holder = memory::holder(dir);
        let kept = memory::look(dir, holder.as_ref()).ok().flatten();
        if kept.is_some_and(|kept| is_taken(&kept)) {
            print(&format!("{done}\n"))?;
            return Ok(OK);
        }
        let Some(holder) = holder else {
            let doubt = if is_known {
                ""
            } else {
                ", if there is such a service"
            };
            print(&format!(
                "{done}: written for the next ready-keeper, since none is at work now{doubt}\n"
            ))?;
            return Ok(OK);
        };
        if clock::instant() > by {
            let (pid, seconds) = (holder.process.pid, PATIENCE.as_secs());
            print(&format!(
                "it is written, and ready-keeper (process {pid}) has not taken it within {seconds} s: look at that\n"
            ))?;
            return Ok(LATER);
        }
        std::thread::sleep(LOOK);
    }
}
