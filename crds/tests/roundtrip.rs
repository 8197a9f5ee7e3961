//! What is stored, also by others, is read and written again without loss.

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
        .flat_map(|yaml| serde_saphyr::from_multiple::<Value>(yaml).expect("the corpus is YAML"))
        .collect()
}

fn through<K: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<K>(object.clone())?)
}

/// Reads an object as its type, and writes it again.
fn through_its_type(object: &Value) -> Result<Value, serde_json::Error> {
    match object["kind"].as_str() {
        Some("Certificate") => through::<Certificate>(object),
        Some("CertificateRequest") => through::<CertificateRequest>(object),
        Some("ClusterIssuer") => through::<ClusterIssuer>(object),
        Some("Issuer") => through::<Issuer>(object),
        Some("Challenge") => through::<Challenge>(object),
        Some("Order") => through::<Order>(object),
        other => panic!("{other:?} is not ours"),
    }
}

/// Where `after` lacks what `before` says. Durations may be written in another way.
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
        (Value::String(before), Value::String(after)) if same_duration(before, after) => Vec::new(),
        _ if before == after => Vec::new(),
        _ => vec![format!("{path}: {before} became {after}")],
    }
}

fn same_duration(one: &str, other: &str) -> bool {
    let parse = |text: &str| text.parse::<crds::duration::GoDuration>().ok();
    parse(one).is_some() && parse(one) == parse(other)
}

#[test]
fn every_object_of_the_corpus_survives_its_type() {
    let corpus = corpus();
    assert!(corpus.len() >= 60);
    for object in corpus {
        let after = through_its_type(&object).unwrap_or_else(|error| panic!("{object}: {error}"));
        assert_eq!(losses(&object, &after, "") as Vec<String>, Vec::<String>::new());
    }
}

#[test]
fn conditions_that_are_null_are_none() {
    for mut object in corpus() {
        object["status"] = serde_json::json!({});
        if ["Certificate", "CertificateRequest", "Issuer", "ClusterIssuer"]
            .contains(&object["kind"].as_str().unwrap_or_default())
        {
            object["status"]["conditions"] = Value::Null;
        }
        through_its_type(&object).unwrap_or_else(|error| panic!("{object}: {error}"));
    }
}

/// Takes fields away at all depths, one for each bit that is set, as far as the bits reach.
fn thin_out(value: &mut Value, bits: &mut impl Iterator<Item = bool>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, _| !bits.next().unwrap_or(false));
            fields.values_mut().for_each(|field| thin_out(field, bits));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| thin_out(item, bits)),
        _ => {}
    }
}

proptest! {
    /// An object lacks what it lacks: whatever is left of it is kept, or what is missing is an error, never a panic.
    #[test]
    fn any_part_of_an_object_survives_its_type(index in any::<prop::sample::Index>(), bits in prop::collection::vec(prop::bool::weighted(0.1), 0..200)) {
        let corpus = corpus();
        let mut object = corpus[index.index(corpus.len())].clone();
        let mut bits = bits.into_iter();
        for part in ["spec", "status"] {
            if let Some(part) = object.get_mut(part) {
                thin_out(part, &mut bits);
            }
        }
        match through_its_type(&object) {
            Ok(after) => prop_assert_eq!(losses(&object, &after, ""), Vec::<String>::new()),
            Err(error) => prop_assert!(error.to_string().contains("missing field"), "{}", error),
        }
    }
}
