//! Stored objects, including those that cert-manager wrote, survive being read and written.

use crds::{
    acme::{Challenge, Order},
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer},
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

const CORPUS: [&str; 3] = [
    include_str!("corpus/certificates.yaml"),
    include_str!("corpus/issuers.yaml"),
    include_str!("corpus/requests.yaml"),
];

fn corpus() -> Vec<Value> {
    CORPUS
        .iter()
        .flat_map(|yaml| serde_saphyr::from_multiple::<Value>(yaml).expect("a corpus of valid YAML"))
        .collect()
}

fn round_trip_as<K: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<K>(object.clone())?)
}

/// Deserializes an object as the type of its kind, and serializes it again.
fn round_trip(object: &Value) -> Result<Value, serde_json::Error> {
    match object["kind"].as_str() {
        Some("Certificate") => round_trip_as::<Certificate>(object),
        Some("CertificateRequest") => round_trip_as::<CertificateRequest>(object),
        Some("ClusterIssuer") => round_trip_as::<ClusterIssuer>(object),
        Some("Issuer") => round_trip_as::<Issuer>(object),
        Some("Challenge") => round_trip_as::<Challenge>(object),
        Some("Order") => round_trip_as::<Order>(object),
        other => panic!("unknown kind {other:?}"),
    }
}

/// Returns the paths at which `after` lacks a value of `before`. Durations may be written differently.
fn losses(before: &Value, after: &Value, path: &str) -> Vec<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .flat_map(|(key, value)| {
                losses(value, after.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"))
            })
            .collect(),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            before.iter().zip(after).flat_map(|(value, other)| losses(value, other, path)).collect()
        }
        (Value::String(before), Value::String(after)) if is_same_duration(before, after) => Vec::new(),
        _ if before == after => Vec::new(),
        _ => vec![format!("{path}: {before} became {after}")],
    }
}

fn is_same_duration(one: &str, other: &str) -> bool {
    let parse = |text: &str| text.parse::<crds::duration::GoDuration>().ok();
    parse(one).is_some() && parse(one) == parse(other)
}

#[test]
fn corpus_survives_a_round_trip() {
    let corpus = corpus();
    assert!(corpus.len() >= 60, "the corpus has {} objects", corpus.len());
    for object in corpus {
        let after = round_trip(&object).unwrap_or_else(|error| panic!("{object}: {error}"));
        assert_eq!(losses(&object, &after, "") as Vec<String>, Vec::<String>::new());
    }
}

#[test]
fn null_conditions_are_accepted() {
    for mut object in corpus() {
        object["status"] = serde_json::json!({});
        if ["Certificate", "CertificateRequest", "Issuer", "ClusterIssuer"]
            .contains(&object["kind"].as_str().unwrap_or_default())
        {
            object["status"]["conditions"] = Value::Null;
        }
        round_trip(&object).unwrap_or_else(|error| panic!("{object}: {error}"));
    }
}

/// Removes fields at all depths, one for each bit that is set, until the bits run out.
fn remove_fields(value: &mut Value, bits: &mut impl Iterator<Item = bool>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, _| !bits.next().unwrap_or(false));
            fields.values_mut().for_each(|field| remove_fields(field, bits));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| remove_fields(item, bits)),
        _ => {}
    }
}

proptest! {
    /// If fields are removed, the remaining ones are kept, or the missing one is reported. Nothing panics.
    #[test]
    fn partial_objects_survive_a_round_trip(index in any::<prop::sample::Index>(), bits in prop::collection::vec(prop::bool::weighted(0.1), 0..200)) {
        let corpus = corpus();
        let mut object = corpus[index.index(corpus.len())].clone();
        let mut bits = bits.into_iter();
        for part in ["spec", "status"] {
            if let Some(part) = object.get_mut(part) {
                remove_fields(part, &mut bits);
            }
        }
        match round_trip(&object) {
            Ok(after) => prop_assert_eq!(losses(&object, &after, ""), Vec::<String>::new()),
            Err(error) => prop_assert!(error.to_string().contains("missing field"), "{}", error),
        }
    }
}
