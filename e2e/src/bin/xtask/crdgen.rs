//! `cargo xtask crdgen`: the definitions and policies that the chart carries are what `crds` says.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail};
use crds::{
    admission,
    generate::{self, GeneratedFile},
};

/// Where the chart has them, from the root of the workspace.
pub(crate) const FOLDER: &str = "charts/acme-operator/files";

/// `kubectl apply` keeps the whole object in an annotation, which may have 256 KiB: well below that.
const SIZE_LIMIT: usize = 200_000;

/// Writes the definitions into a folder, or checks that it holds just them.
pub(crate) fn run(folder: &Path, check: bool) -> Result<()> {
    let policies = [
        ("approval", admission::APPROVAL),
        ("identity", admission::IDENTITY),
        ("stamp", admission::STAMP),
        ("user-roles", admission::USER_ROLES),
    ];
    let policies = policies
        .map(|(name, content)| GeneratedFile { name: format!("{name}.yaml"), content: content.to_owned() });
    write_or_check(&folder.join("crds"), &generate::custom_resource_definitions()?, check)?;
    write_or_check(&folder.join("admission"), &policies, check)
}

fn write_or_check(folder: &Path, files: &[GeneratedFile], check: bool) -> Result<()> {
    if let Some(file) = files.iter().find(|file| file.content.len() > SIZE_LIMIT) {
        bail!(
            "{} has {} bytes: more than {SIZE_LIMIT} can't be applied by kubectl",
            file.name,
            file.content.len()
        );
    }
    if !check {
        fs::create_dir_all(folder)?;
        for file in files {
            let path = folder.join(&file.name);
            fs::write(&path, &file.content).with_context(|| format!("failed to write {}", path.display()))?;
            println!("{} ({} bytes)", path.display(), file.content.len());
        }
        return Ok(());
    }
    let mut stale: BTreeSet<String> = fs::read_dir(folder)
        .with_context(|| format!("failed to list {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    for file in files {
        let same = fs::read_to_string(folder.join(&file.name)).is_ok_and(|content| content == file.content);
        if same {
            stale.remove(&file.name);
        } else {
            stale.insert(file.name.clone());
        }
    }
    if !stale.is_empty() {
        let stale: Vec<_> = stale.into_iter().collect();
        bail!(
            "{} in {} are not what crds says: run `cargo xtask crdgen` and commit what it writes",
            stale.join(", "),
            folder.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_passes_on_what_was_written_and_fails_on_anything_else() -> Result<()> {
        let folder = tempfile::tempdir()?;
        run(folder.path(), false)?;
        run(folder.path(), true)?;

        let changed = folder.path().join("crds/cert-manager.io_certificates.yaml");
        let content = fs::read_to_string(&changed)?;
        fs::write(&changed, content.replace("secretName:", "secretTitle:"))?;
        let error = run(folder.path(), true).err().context("a changed type was not noticed")?.to_string();
        assert!(
            error.contains("cert-manager.io_certificates.yaml") && error.contains("cargo xtask crdgen"),
            "{error}"
        );

        fs::write(&changed, content)?;
        fs::write(folder.path().join("admission/left-over.yaml"), "")?;
        let error = run(folder.path(), true).err().context("a file of no type was not noticed")?.to_string();
        assert!(error.contains("left-over.yaml"), "{error}");
        Ok(())
    }

    #[test]
    fn what_the_chart_carries_is_what_the_types_say() -> Result<()> {
        run(&e2e::paths::workspace().join(FOLDER), true)
    }
}
