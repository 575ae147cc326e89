//! Errors on stderr.

use pondage_model::Outcome;
use serde_json::json;

use super::text::{Lines, shown};
use crate::{exit::Failure, kinds::Label};

/// How errors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorForm {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// A failure as it goes to stderr.
pub(crate) fn text(failure: &Failure, form: ErrorForm) -> String {
    match form {
        ErrorForm::Json => format!("{}\n", json!({ "error": object(failure) })),
        ErrorForm::Text => {
            let mut out = format!("error: {}\n", shown(failure.message.as_bytes(), Lines::Many));
            if let Some(outcome) = failure.outcome {
                out += &format!("outcome: {}\n", outcome_text(outcome));
            }
            if !failure.help.is_empty() {
                out += &format!("help: {}\n", shown(failure.help.as_bytes(), Lines::Many));
            }
            out
        }
    }
}

/// A failure of one resource among others, indented below its first line.
pub(crate) fn of_resource(label: &Label, failure: &Failure) -> String {
    let mut out = format!("error: {label}: {failure}");
    if let Some(outcome) = failure.outcome {
        out += &format!("\n  outcome: {}", outcome_text(outcome));
    }
    if !failure.help.is_empty() {
        out += &format!("\n  help: {}", failure.help);
    }
    shown(out.as_bytes(), Lines::Many)
}

/// A failure for programs.
pub(crate) fn object(failure: &Failure) -> serde_json::Value {
    json!({
        "code": failure.word,
        "message": failure.message,
        "outcome": failure.outcome.map(outcome_word),
        "help": failure.help,
        "exitCode": failure.exit.code(),
    })
}

/// The word for programs.
pub(crate) const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Definite => "DEFINITE",
        Outcome::Unknown => "UNKNOWN",
    }
}

/// The words for people.
const fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Definite => "definite, it was not done",
        Outcome::Unknown => "unknown, it may have been done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use pondage_model::Refusal;

    #[test]
    fn errors_say_what_happened_whether_it_took_effect_and_what_to_do() {
        let unknown = Failure::from(Refusal::Timeout);
        assert_eq!(
            text(&unknown, ErrorForm::Text),
            "error: no answer in time\noutcome: unknown, it may have been done\n\
             help: reconnect and send it again; an idempotent session stores it once\n"
        );
        let usage = Failure::usage("a \u{1b}[31mtrap");
        assert_eq!(text(&usage, ErrorForm::Text), "error: a \\u{1b}[31mtrap\n");
        let parsed: serde_json::Value =
            serde_json::from_str(&text(&unknown, ErrorForm::Json)).expect("one JSON object");
        assert_eq!(parsed["error"]["code"], "TIMEOUT");
        assert_eq!(parsed["error"]["outcome"], "UNKNOWN");
        assert_eq!(parsed["error"]["exitCode"], Exit::Unknown.code());
    }
}
