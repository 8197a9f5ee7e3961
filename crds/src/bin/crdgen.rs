//! Prints the files that the chart carries of this crate, as a JSON object: content by path, such as
//! `crds/cert-manager.io_certificates.yaml`. `cargo xtask crdgen` writes them.

use std::{collections::BTreeMap, error::Error};

use crds::{admission, generate};

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", serde_json::to_string_pretty(&files()?)?);
    Ok(())
}

fn files() -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let definitions = generate::custom_resource_definitions()?
        .into_iter()
        .map(|file| (format!("crds/{}", file.name), file.content));
    let policies = [
        ("approval", admission::APPROVAL),
        ("identity", admission::IDENTITY),
        ("operator", admission::OPERATOR),
        ("stamp", admission::STAMP),
        ("user-roles", admission::USER_ROLES),
    ]
    .map(|(name, content)| (format!("admission/{name}.yaml"), content.to_owned()));
    Ok(definitions.chain(policies).collect())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn chart_carries_what_the_types_say() -> Result<(), Box<dyn Error>> {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/acme-operator/files");
        for (path, content) in files()? {
            let carried = fs::read_to_string(chart.join(&path)).unwrap_or_default();
            assert!(carried == content, "{path} differs: run `cargo xtask crdgen` and commit what it writes");
        }
        Ok(())
    }
}
