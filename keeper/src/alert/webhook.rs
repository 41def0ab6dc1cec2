//! A message as webhooks take it: all of it as the text of one field, or each part as a field of its own.

use serde_json::{Map, Value, json};

use super::message::{Letter, cut};

/// Slack's (<https://api.slack.com/reference/surfaces/formatting>).
const SLACK: &str = "text";
/// Discord's (<https://discord.com/developers/docs/resources/webhook#execute-webhook>).
const DISCORD: &str = "content";
/// Discord refuses longer ones; it counts characters, of which there are never more than bytes.
const MAX_DISCORD_BYTES: usize = 2_000;
/// Slack cuts longer ones in its own way.
const MAX_BYTES: usize = 4_000;

/// The body of the request.
pub fn body(letter: &Letter, field: Option<&str>) -> String {
    let Some(field) = field else {
        let body = cut(&letter.body, MAX_BYTES);
        return json!({
            "title": letter.title,
            "message": body,
            "priority": letter.priority,
            "tags": letter.tags,
            "host": letter.host,
            "events": letter.facts,
        })
        .to_string();
    };
    let text = format!("{}\n\n{}", letter.title, letter.body);
    let mut fields = Map::new();
    let text = match field {
        DISCORD => {
            // A reason that says @everyone wakes nobody.
            fields.insert("allowed_mentions".to_owned(), json!({"parse": []}));
            cut(&text, MAX_DISCORD_BYTES)
        }
        SLACK => escaped(&cut(&text, MAX_BYTES)),
        _ => cut(&text, MAX_BYTES),
    };
    fields.insert(field.to_owned(), Value::String(text));
    Value::Object(fields).to_string()
}

/// `<!channel>` would wake everybody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::letter;
    use super::*;

    fn read(letter: &Letter, field: Option<&str>) -> Value {
        serde_json::from_str(&body(letter, field)).unwrap()
    }

    #[test]
    fn one_field_holds_all_of_it_and_wakes_nobody_else() {
        let slack = read(&letter("<!channel> & more"), Some("text"));
        assert_eq!(
            slack["text"],
            "minio is down\n\n&lt;!channel&gt; &amp; more"
        );
        assert_eq!(slack.as_object().unwrap().len(), 1, "{slack}");
        let discord = read(&letter(&"@everyone ".repeat(1_000)), Some("content"));
        let text = discord["content"].as_str().unwrap();
        assert!(
            text.chars().count() <= 2_000 && text.starts_with("minio is down\n\n@everyone"),
            "{text}"
        );
        assert_eq!(discord["allowed_mentions"], json!({"parse": []}));
        let other = read(&letter("<b>"), Some("body"));
        assert_eq!(other, json!({"body": "minio is down\n\n<b>"}));
    }

    #[test]
    fn without_a_field_each_part_has_its_own() {
        let all = read(&letter("why"), None);
        assert_eq!(
            (&all["title"], &all["message"]),
            (&"minio is down".into(), &"why".into())
        );
        assert_eq!(
            (&all["priority"], &all["host"]),
            (&5.into(), &"web-1".into())
        );
        assert_eq!(all["events"][0]["event"], "failed");
        assert_eq!(all["events"][0]["service"], "minio");
    }
}
