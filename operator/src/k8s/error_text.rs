//! What an error of the API server says to people: its message on one line, and what to do about it.
//!
//! Knows the API server's words; must not know what was tried. Next: `error.rs`, which adds that.

use std::error::Error;

use kube::core::Status;

use crate::error_chain::ErrorChain;

/// Texts that the messages of the API server contain, and what to do about each. The first that is found counts.
const ADVICE: [(&str, &str); 6] = [
    ("exceeded quota", "Raise the ResourceQuota, or delete other objects that it counts"),
    ("field is immutable when `immutable` is set", "Delete the Secret, and the operator creates it again"),
    (
        "failed calling webhook",
        "Check the Service and the Pods of that webhook: kubectl get \
         validatingwebhookconfigurations,mutatingwebhookconfigurations",
    ),
    ("denied the request", "Change the webhook, or the object so that the webhook accepts it"),
    ("denied request", "Change the policy, or the object so that the policy accepts it"),
    (
        "is forbidden: User ",
        "Give the operator's ServiceAccount this right: the chart's ClusterRoles have it",
    ),
];

/// The message of an error, without the details for programs that the texts of kube's errors have.
pub fn error_text(error: &(dyn Error + 'static)) -> String {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(kube::Error::Api(status)) = error.downcast_ref() {
            return status_text(status);
        }
        cause = error.source();
    }
    ErrorChain(error).to_string()
}

fn status_text(status: &Status) -> String {
    let Status { message, reason, code, .. } = status;
    if message.is_empty() {
        return format!("the API server responds with status {code} {reason}").trim_end().to_owned();
    }
    let advice = ADVICE.iter().find(|(texts, _)| message.contains(texts)).map(|(_, advice)| *advice);
    // Labels are what policies ask for, and a flag sets them.
    let labels = if message.contains("cm-acme-http-solver") && message.contains("denied") {
        ": --acme-http01-solver-extra-labels labels what routes challenges"
    } else {
        ""
    };
    match advice {
        Some(advice) => format!("{}. {advice}{labels}", message.trim_end_matches('.')),
        None => message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &str, reason: &str, code: u16) -> String {
        error_text(&kube::Error::Api(Status::failure(message, reason).with_code(code).boxed()))
    }

    #[test]
    fn message_comes_without_details_and_with_advice() {
        for (message, advice) in [
            (
                "ingresses \"a\" is forbidden: exceeded quota: b, used: c=0, limited: c=0",
                "Raise the ResourceQuota",
            ),
            (
                "Secret \"web\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
                "Delete the Secret",
            ),
            ("admission webhook \"a.example.com\" denied the request: no", "the webhook"),
            (
                "services \"a\" is forbidden: ValidatingAdmissionPolicy 'b' with binding 'c' denied request: no.",
                "the policy",
            ),
            (
                "Internal error occurred: failed calling webhook \"a\": failed to call webhook: Post \"https://b\": refused",
                "Check the Service",
            ),
            (
                "services is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"services\" in API group \
                 \"\" in the namespace \"c\"",
                "ServiceAccount",
            ),
        ] {
            let text = text(message, "Forbidden", 403);
            assert!(text.starts_with(message.trim_end_matches('.')) && text.contains(advice), "{text}");
            assert!(!text.contains("Status {") && !text.contains(".."), "{text}");
        }
        assert_eq!(text("spec.x: Required value", "Invalid", 422), "spec.x: Required value");
        assert_eq!(text("", "", 503), "the API server responds with status 503");
    }

    #[test]
    fn cause_is_found_in_other_errors() {
        let status = Status::failure("no", "Forbidden").with_code(403);
        let error = kube::runtime::watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()));
        assert_eq!(error_text(&error), "no");
    }
}
