//! What the API server rejects: names, values that a CRD does not allow, and changes of what may not change.
//!
//! Knows OpenAPI, and of CEL only rules that something may not change. Next: `write.rs`.

use serde_json::Value;

use super::{answer::Failure, kinds::Kind, state::is_marked};

/// Checks an object before it is stored. `old` is its earlier version, if there is one.
pub(super) fn check(kind: &Kind, old: Option<&Value>, new: &Value) -> Result<(), Failure> {
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let invalid = |why: &str| Failure::invalid(kind, name, why);
    if !is_name(name) {
        return Err(invalid("metadata.name: a lowercase RFC 1123 subdomain is expected"));
    }
    if let Some(open_api) = &kind.open_api {
        wrong(old, new, open_api, &mut String::new()).map_err(|why| invalid(&why))?;
    }
    if let Some(old) = old {
        let finalizers = |of: &Value| of["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let known = finalizers(old);
        if is_marked(old) && finalizers(new).iter().any(|finalizer| !known.contains(finalizer)) {
            return Err(invalid(
                "metadata.finalizers: no new finalizers can be added if the object is being deleted",
            ));
        }
        if kind.name == "Secret" {
            if old["type"] != new["type"] {
                return Err(invalid("type: field is immutable"));
            }
            let is_changed = old["data"] != new["data"] || new["immutable"] != true;
            if old["immutable"] == true && is_changed {
                return Err(invalid("data: field is immutable when `immutable` is set"));
            }
        }
        if kind.name == "EndpointSlice" && old["addressType"] != new["addressType"] {
            return Err(invalid("addressType: field is immutable"));
        }
    }
    Ok(())
}

/// Whether a name is an RFC 1123 subdomain.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter().all(|end| end.is_some_and(|&byte| is_plain(byte)))
            && bytes.iter().all(|&byte| is_plain(byte) || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Where a value has another type than a CRD states, if anywhere.
pub(super) fn mistyped(value: &Value, stated: &Value) -> Option<String> {
    if !has_type(value, stated) {
        return Some(String::new());
    }
    let inside = |name: &str, value: &Value, stated: &Value| {
        mistyped(value, stated).map(|path| format!(".{name}{path}"))
    };
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            inside(name, field, stated["properties"].get(name).unwrap_or(&stated["additionalProperties"]))
        }),
        Value::Array(elements) => elements.iter().find_map(|element| inside("*", element, &stated["items"])),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// What is wrong with a value, if anything is.
fn wrong(old: Option<&Value>, new: &Value, stated: &Value, path: &mut String) -> Result<(), String> {
    let fault = |path: &str, why: &str| Err(format!("{}: {why}", path.trim_start_matches('.')));
    if new.is_null() {
        return if stated["nullable"] == true { Ok(()) } else { fault(path, "must not be null") };
    }
    if !has_type(new, stated) {
        return fault(path, "has the wrong type");
    }
    if let Some(allowed) = stated["enum"].as_array()
        && !allowed.contains(new)
    {
        return fault(path, "is not one of the supported values");
    }
    if !is_in_bounds(new, stated) {
        return fault(path, "is too long, too short, too large, or too small");
    }
    let rules = stated["x-kubernetes-validations"].as_array().into_iter().flatten();
    let broken = rules.filter_map(|rule| rule["rule"].as_str()).find(|rule| breaks(rule, old, new));
    if let Some(rule) = broken {
        return fault(path, rule);
    }
    match new {
        Value::Object(fields) => {
            let required = stated["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            for name in required {
                if !fields.contains_key(name) {
                    return fault(&format!("{path}.{name}"), "is required");
                }
            }
            for (name, field) in fields {
                // What is inside of metadata is the server's.
                if path.is_empty() && name == "metadata" {
                    continue;
                }
                let stated = stated["properties"].get(name).unwrap_or(&stated["additionalProperties"]);
                if stated.is_object() {
                    let length = path.len();
                    path.push('.');
                    path.push_str(name);
                    wrong(old.and_then(|old| old.get(name)), field, stated, path)?;
                    path.truncate(length);
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                wrong(None, element, &stated["items"], path)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

/// Whether a change breaks a rule of one of the forms that our CRDs have: a field may not change, or not once it has a value.
fn breaks(rule: &str, old: Option<&Value>, new: &Value) -> bool {
    let Some(old) = old else { return false };
    let differs = |field: &str| {
        // A list whose elements may get more fields, but stay about the same URLs.
        let (field, part) = field.split_once(".map(it, it.").unwrap_or((field, ""));
        let value = |of: &Value| match (part.trim_end_matches(')'), &of[field]) {
            ("", value) => value.clone(),
            (part, Value::Array(elements)) => elements.iter().map(|it| it[part].clone()).collect(),
            (_, other) => other.clone(),
        };
        value(old) != value(new)
    };
    if let Some((field, old_field)) =
        rule.strip_prefix("self.").and_then(|rule| rule.split_once(" == oldSelf."))
    {
        return field == old_field && differs(field);
    }
    let Some((set, _)) = rule.strip_prefix("!has(oldSelf.").and_then(|rule| rule.split_once(')')) else {
        return false;
    };
    let is_empty = match &old[set] {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    let compared = rule.rsplit_once(" == oldSelf.").map(|(_, field)| field);
    !is_empty && compared.is_some_and(|field| differs(field.strip_suffix(')').unwrap_or(field)))
}

fn has_type(value: &Value, stated: &Value) -> bool {
    if stated["x-kubernetes-int-or-string"] == true {
        return value.is_i64() || value.is_string();
    }
    match stated["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    }
}

fn is_in_bounds(value: &Value, stated: &Value) -> bool {
    let bound = |name: &str| stated[name].as_f64();
    let within = |size: f64, least: &str, most: &str| {
        bound(least).is_none_or(|least| size >= least) && bound(most).is_none_or(|most| size <= most)
    };
    let size = |length: usize| u32::try_from(length).map_or(f64::INFINITY, f64::from);
    match value {
        Value::String(text) => within(size(text.chars().count()), "minLength", "maxLength"),
        Value::Array(elements) => within(size(elements.len()), "minItems", "maxItems"),
        Value::Object(fields) => within(size(fields.len()), "minProperties", "maxProperties"),
        Value::Number(number) => number.as_f64().is_none_or(|number| within(number, "minimum", "maximum")),
        Value::Null | Value::Bool(_) => true,
    }
}
