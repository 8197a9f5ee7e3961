//! The configuration file of cert-manager's controller, as settings and their values. Next: `catalog.rs`.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::catalog::{self, Kind, Setting};

/// The kind of the file.
const KIND: &str = "ControllerConfiguration";

/// The API version of the file.
const API_VERSION: &str = "controller.config.cert-manager.io/v1alpha1";

/// A member of a configuration file.
pub(super) struct Member {
    /// Its name, with dots between the names of objects.
    pub(super) name: String,
    /// What it sets.
    pub(super) setting: &'static Setting,
    /// Its value, as the flag has it.
    pub(super) value: String,
}

/// Reads the members of a configuration file. Those without a value, or with an empty one, are left out: they have their defaults.
pub(super) fn members(text: &str) -> Result<Vec<Member>> {
    let file: Value = serde_saphyr::from_str(text)?;
    ensure!(file.is_object(), "it is not a YAML object");
    for (name, expected) in [("kind", KIND), ("apiVersion", API_VERSION)] {
        let found = &file[name];
        ensure!(found.is_null() || found == expected, "its {name} is {found}, but has to be {expected:?}");
    }
    let mut members = Vec::new();
    collect("", &file, &mut members)?;
    Ok(members)
}

/// Adds the members of an object, and of the objects in it.
fn collect(prefix: &str, object: &Value, members: &mut Vec<Member>) -> Result<()> {
    for (name, value) in object.as_object().into_iter().flatten() {
        if prefix.is_empty() && (name == "kind" || name == "apiVersion") {
            continue;
        }
        let name = format!("{prefix}{name}");
        match (catalog::by_member(&name), value) {
            (_, Value::Null) => {}
            (Some(setting), value) if !is_empty(value) => {
                members.push(Member { name, setting, value: text(setting, value) });
            }
            (Some(_), _) => {}
            (None, Value::Object(_)) if is_group(&name) => collect(&format!("{name}."), value, members)?,
            (None, _) => bail!(
                "cert-manager {} has no member {name:?} in a {KIND}. Correct its name, or remove it",
                catalog::VERSION
            ),
        }
    }
    Ok(())
}

/// Whether members of this object exist.
fn is_group(name: &str) -> bool {
    let is_inside = |member: &str| member.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    catalog::SETTINGS.iter().any(|setting| setting.members.iter().any(|member| is_inside(member)))
}

/// Whether a value means the default, as in Go.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Null | Value::Bool(_) => false,
    }
}

/// The value of a flag that sets the same.
fn text(setting: &Setting, value: &Value) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    match value {
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            let pairs: Vec<_> =
                members.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
            pairs.join(",")
        }
        Value::Number(nanoseconds) if setting.kind == Kind::Duration => format!("{nanoseconds}ns"),
        value => plain(value),
    }
}
