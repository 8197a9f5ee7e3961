//! Conditions in the status of objects: their type, and functions to read and change them.

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Condition of all kinds except Order and Challenge: whether the object is usable.
pub const READY: &str = "Ready";
/// Condition of a Certificate: whether an issuance is in progress (True), or the last one failed (False).
pub const ISSUING: &str = "Issuing";
/// Condition of a CertificateRequest: an authorized approver has approved it. Immutable once set.
pub const APPROVED: &str = "Approved";
/// Condition of a CertificateRequest: an authorized approver has denied it. Immutable once set.
pub const DENIED: &str = "Denied";
/// Condition of a CertificateRequest: its CSR does not match its spec.
pub const INVALID_REQUEST: &str = "InvalidRequest";

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// It is not known yet whether the condition holds.
    #[default]
    Unknown,
}

/// One aspect of the observed state of an object.
// Mirrors cert-manager's `CertificateCondition`, `CertificateRequestCondition`, and `IssuerCondition`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Time at which the status last changed from one value to another, in UTC with a resolution of one
    /// second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Human-readable explanation: what happened, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub message: Option<String>,
    /// The metadata.generation of the object that the condition is based on. If it differs from the current
    /// one, the condition is out of date. Unset on a CertificateRequest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Machine-readable reason for the status, as one word in PascalCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Status of the condition: "True", "False", or "Unknown".
    pub status: ConditionStatus,
    /// Type of the condition, such as "Ready". Unique in the list.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub type_: String,
}

/// A kind with conditions in its status.
pub trait HasConditions {
    /// Returns the conditions in the order in which they are stored; none if the object has no status yet.
    fn conditions(&self) -> &[Condition];
}

/// Returns the condition of a type, if the list contains one.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Returns whether the list contains a condition of a type with the status True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// Replaces the condition of the same type, or appends the condition if the list has none.
///
/// `lastTransitionTime` is kept if the status stays the same, and becomes `now` in whole seconds if it changes; that of
/// `new` is ignored. The message is put on [one line](one_line).
///
/// ```
/// use crds::condition::{self, Condition, ConditionStatus};
/// use jiff::Timestamp;
///
/// let ready = |message: &str| Condition {
///     type_: condition::READY.into(),
///     status: ConditionStatus::True,
///     reason: Some("Ready".into()),
///     message: Some(message.into()),
///     observed_generation: Some(1),
///     last_transition_time: None,
/// };
/// let mut conditions = Vec::new();
/// condition::set(&mut conditions, ready("first"), Timestamp::from_second(100)?);
/// condition::set(&mut conditions, ready("second"), Timestamp::from_second(200)?);
/// assert_eq!(conditions.len(), 1);
/// assert_eq!(conditions[0].message.as_deref(), Some("second"));
/// assert_eq!(conditions[0].last_transition_time.as_ref().map(|time| time.0.as_second()), Some(100));
/// # Ok::<(), jiff::Error>(())
/// ```
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition, now: Timestamp) {
    new.message = new.message.map(|message| one_line(&message, LONGEST_MESSAGE));
    let old = conditions.iter_mut().find(|condition| condition.type_ == new.type_);
    new.last_transition_time = match &old {
        Some(old) if old.status == new.status => old.last_transition_time.clone(),
        _ => None,
    }
    .or_else(|| Some(whole_seconds(now)));
    match old {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// The longest message of a condition, in bytes: less than definitions and events allow.
pub const LONGEST_MESSAGE: usize = 1000;

/// Puts a text on one line of at most `longest` bytes: other programs' errors may have many lines of any length, and the API
/// server rejects a status that is too long.
///
/// ```
/// use crds::condition::one_line;
///
/// assert_eq!(one_line("exceeded\n\tquota ", 100), "exceeded quota");
/// assert_eq!(one_line("exceeded quota", 10), "exceede…");
/// ```
pub fn one_line(text: &str, longest: usize) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > longest {
            line.truncate(line.floor_char_boundary(longest.saturating_sub('…'.len_utf8())));
            line.push('…');
            break;
        }
    }
    line
}

/// Removes the condition of a type from the list.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// Truncates a time to the precision of `metav1.Time`.
///
/// The API server drops fractions of a second, so a status with a fraction would never match the stored one, and would
/// be written again in every reconcile.
pub fn whole_seconds(time: Timestamp) -> Time {
    // Rounds toward the past, also before 1970; only the earliest possible time has no earlier second.
    Time(
        Timestamp::from_second(time.as_second() - i64::from(time.subsec_nanosecond() < 0))
            .unwrap_or_else(|_| time.round(Unit::Second).unwrap_or(time)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        certmanager::{CertificateRequestStatus, CertificateStatus, IssuerStatus},
        fixtures::{certificate, certificate_request, cluster_issuer, issuer},
    };

    fn condition(type_: &str, status: ConditionStatus) -> Condition {
        Condition {
            type_: type_.into(),
            status,
            reason: None,
            message: None,
            observed_generation: None,
            last_transition_time: None,
        }
    }

    fn at(second: i64, nanosecond: i32) -> Timestamp {
        Timestamp::new(second, nanosecond).expect("a valid test time")
    }

    /// The fraction of the time is dropped.
    #[test]
    fn set_updates_the_time_with_the_status_only() {
        let mut conditions = vec![condition(ISSUING, ConditionStatus::True)];
        for (status, now, transition) in [
            (ConditionStatus::False, at(10, 999_999_999), 10),
            (ConditionStatus::False, at(20, 0), 10),
            (ConditionStatus::True, at(30, 1), 30),
        ] {
            set(&mut conditions, condition(READY, status), now);
            let ready = find(&conditions, READY).and_then(|ready| ready.last_transition_time.clone());
            assert_eq!(ready, Some(Time(at(transition, 0))));
        }
        assert_eq!(conditions.len(), 2, "the other condition is kept");
    }

    #[test]
    fn set_adds_a_missing_time() {
        let mut conditions = vec![condition(READY, ConditionStatus::True)];
        set(&mut conditions, condition(READY, ConditionStatus::True), at(5, 0));
        assert_eq!(conditions[0].last_transition_time, Some(Time(at(5, 0))));
    }

    #[test]
    fn whole_seconds_rounds_down_before_1970() {
        assert_eq!(whole_seconds(at(-2, -500_000_000)).0, at(-3, 0));
    }

    #[test]
    fn remove_keeps_other_types() {
        let mut conditions =
            vec![condition(READY, ConditionStatus::True), condition(ISSUING, ConditionStatus::True)];
        remove(&mut conditions, ISSUING);
        assert!(is_true(&conditions, READY) && find(&conditions, ISSUING).is_none());
    }

    #[test]
    fn objects_without_a_status_have_no_conditions() {
        assert!(certificate("web", |_| {}).conditions().is_empty());
        assert!(certificate_request("web-1", |_| {}).conditions().is_empty());
        assert!(issuer("ca", |_| {}).conditions().is_empty());
        assert!(cluster_issuer("ca", |_| {}).conditions().is_empty());
    }

    #[test]
    fn conditions_come_from_the_status() {
        let conditions =
            vec![condition(READY, ConditionStatus::True), condition(ISSUING, ConditionStatus::False)];
        let status = CertificateStatus { conditions: conditions.clone(), ..CertificateStatus::default() };
        assert_eq!(certificate("web", |it| it.status = Some(status)).conditions(), conditions);
        let status = CertificateRequestStatus {
            conditions: conditions.clone(),
            ..CertificateRequestStatus::default()
        };
        assert_eq!(certificate_request("web-1", |it| it.status = Some(status)).conditions(), conditions);
        let status = IssuerStatus { conditions: conditions.clone(), ..IssuerStatus::default() };
        assert_eq!(issuer("ca", |it| it.status = Some(status.clone())).conditions(), conditions);
        assert_eq!(cluster_issuer("ca", |it| it.status = Some(status)).conditions(), conditions);
    }
}
