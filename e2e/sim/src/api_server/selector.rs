//! Which objects a list or a watch selects: by labels and by fields.
//!
//! Knows the syntax of selectors; must not know kinds. Next: `request.rs`.

use serde_json::Value;

use super::answer::Failure;

/// A selection of objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<(String, Requirement)>,
    /// Paths such as `metadata.name`.
    fields: Vec<(String, Requirement)>,
}

#[derive(Clone, Debug)]
enum Requirement {
    Equals(String),
    Differs(String),
    Exists,
    Missing,
}

impl Requirement {
    fn is_met(&self, value: Option<&str>) -> bool {
        match self {
            Self::Equals(wanted) => value == Some(wanted),
            Self::Differs(unwanted) => value != Some(unwanted),
            Self::Exists => value.is_some(),
            Self::Missing => value.is_none(),
        }
    }
}

impl Selector {
    /// Reads the selectors of a query. Only the name and the namespace can be selected by fields.
    pub(super) fn parse(labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = labels.split(',').filter(|it| !it.is_empty()).map(requirement).collect();
        let fields: Vec<_> = fields.split(',').filter(|it| !it.is_empty()).map(requirement).collect();
        if let Some((field, _)) = fields.iter().find(|(field, _)| !is_selectable(field)) {
            return Err(Failure::bad_request(format!("field label not supported: {field}")));
        }
        Ok(Self { labels, fields })
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let by_labels = self.labels.iter().all(|(name, it)| it.is_met(labels[name.as_str()].as_str()));
        by_labels
            && self.fields.iter().all(|(path, it)| {
                let field = path.split('.').fold(object, |at, name| &at[name]);
                it.is_met(Some(field.as_str().unwrap_or_default()))
            })
    }
}

fn is_selectable(field: &str) -> bool {
    ["metadata.name", "metadata.namespace"].contains(&field)
}

fn requirement(text: &str) -> (String, Requirement) {
    let owned = |(name, value): (&str, &str)| (name.trim().to_owned(), value.trim().to_owned());
    if let Some((name, value)) = text.split_once("!=").map(owned) {
        return (name, Requirement::Differs(value));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')).map(owned) {
        return (name, Requirement::Equals(value));
    }
    match text.strip_prefix('!') {
        Some(name) => (name.trim().to_owned(), Requirement::Missing),
        None => (text.trim().to_owned(), Requirement::Exists),
    }
}
