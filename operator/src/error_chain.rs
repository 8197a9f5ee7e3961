//! The text of an error with all its causes, for logs, events, and conditions. Must not know specific error types.
//! Next: `error.rs`.

use std::{error::Error, fmt};

/// Prints an error and its causes, separated by `: `.
///
/// Some libraries already include the cause in their message, so a cause that the text contains is not repeated.
///
/// ```
/// use operator::error_chain::ErrorChain;
///
/// let error = "1.5".parse::<u8>().unwrap_err();
/// assert_eq!(ErrorChain(&error).to_string(), "invalid digit found in string");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut source = self.0.source();
        while let Some(cause) = source {
            let message = cause.to_string();
            if !text.contains(&message) {
                text = format!("{text}: {message}");
            }
            source = cause.source();
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Failure {
        message: &'static str,
        source: Option<Box<Self>>,
    }

    fn failure(messages: &[&'static str]) -> Failure {
        let (message, causes) = messages.split_first().expect("at least one message");
        let source = (!causes.is_empty()).then(|| Box::new(failure(causes)));
        Failure { message, source }
    }

    #[test]
    fn error_chain_prints_each_cause_once() {
        for (messages, expected) in [
            (&["failed to read"][..], "failed to read"),
            (&["failed to read", "client error", "refused"], "failed to read: client error: refused"),
            (&["failed to read: refused", "refused"], "failed to read: refused"),
            (&["failed to read: refused", "refused", "errno 111"], "failed to read: refused: errno 111"),
        ] {
            assert_eq!(ErrorChain(&failure(messages)).to_string(), expected);
        }
    }
}
