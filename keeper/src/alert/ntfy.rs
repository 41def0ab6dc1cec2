//! A message as ntfy takes it: JSON with the topic in it, sent to the server's own address
//! (<https://docs.ntfy.sh/publish/#publish-as-json>).

use serde_json::json;

use super::message::{Letter, cut};

/// What is longer becomes an attachment, or is refused (<https://docs.ntfy.sh/publish/#limitations>).
const MAX_MESSAGE_BYTES: usize = 4096;
/// ntfy's server reads JSON up to twice the length of a message.
const MAX_JSON_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

/// The body of the request.
pub fn body(letter: &Letter, topic: &str) -> String {
    let mut max = MAX_MESSAGE_BYTES;
    loop {
        let message = cut(&letter.body, max);
        let body = json!({
            "topic": topic,
            "title": letter.title,
            "message": message,
            "priority": letter.priority,
            "tags": letter.tags,
        })
        .to_string();
        // Quotes and line ends take two bytes each.
        match body.len().checked_sub(MAX_JSON_BYTES) {
            Some(over) if over > 0 && max > over => max -= over,
            Some(_) | None => return body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::letter;
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_topic_is_a_field_and_the_message_is_cut_to_what_ntfy_takes() {
        for text in [
            "short",
            &"x".repeat(5_000),
            &"é\n".repeat(3_000),
            &"\"\\\n".repeat(2_000),
        ] {
            let body = body(&letter(text), "alerts");
            assert!(body.len() <= MAX_JSON_BYTES, "{}", body.len());
            let read: Value = serde_json::from_str(&body).unwrap();
            let message = read["message"].as_str().unwrap();
            assert!(
                message.len() <= MAX_MESSAGE_BYTES && !message.is_empty(),
                "{}",
                message.len()
            );
            assert!(text == "short" || message.ends_with('…'), "{message}");
            assert_eq!(
                (&read["topic"], &read["priority"]),
                (&"alerts".into(), &5.into())
            );
            assert_eq!(read["tags"][0], "rotating_light");
        }
    }
}
