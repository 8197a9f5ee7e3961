//! `cargo xtask crdgen`: writes the definitions and policies that `crds` generates into the chart.
//! Knows files and folders, and nothing about what is in them. Next: `crds/src/generate.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail};
use xtask::process::cargo;

/// The folder of the generated files in the chart, relative to the workspace.
pub(crate) const FOLDER: &str = "charts/acme-operator/files";

/// The largest file in bytes. `kubectl apply` keeps the whole object in an annotation, whose limit is 256 KiB.
const SIZE_LIMIT: usize = 200_000;

/// Generated files: content by path.
type Files = BTreeMap<String, String>;

/// Writes the generated files into a folder, or checks that its subfolders contain exactly these.
pub(crate) fn run(folder: &Path, check: bool) -> Result<()> {
    let files = generate()?;
    if let Some((path, content)) = files.iter().find(|(_, content)| content.len() > SIZE_LIMIT) {
        bail!("{path} has {} bytes: kubectl can't apply more than {SIZE_LIMIT}", content.len());
    }
    if check { compare(folder, &files) } else { write(folder, &files) }
}

/// Runs the generator of `crds`. It is another program, so that this one builds without its dependencies.
fn generate() -> Result<Files> {
    let output = cargo(&["run", "--quiet", "--package", "crds", "--bin", "crdgen"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!("failed to generate the definitions: crdgen: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("failed to parse the output of crdgen")
}

fn write(folder: &Path, files: &Files) -> Result<()> {
    for (name, content) in files {
        let path = folder.join(name);
        let written =
            path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content));
        written.with_context(|| format!("failed to write {}", path.display()))?;
        println!("{} ({} bytes)", path.display(), content.len());
    }
    Ok(())
}

/// Fails if a file differs, is missing, or is in one of the subfolders without being generated.
fn compare(folder: &Path, files: &Files) -> Result<()> {
    let differs = |name: &str, content: &str| {
        fs::read_to_string(folder.join(name)).map_or(true, |existing| existing != content)
    };
    let mut stale: BTreeSet<String> =
        files.iter().filter(|(name, content)| differs(name, content)).map(|(name, _)| name.clone()).collect();
    let subfolders: BTreeSet<&str> = files.keys().filter_map(|name| Some(name.split_once('/')?.0)).collect();
    for subfolder in subfolders {
        let path = folder.join(subfolder);
        for entry in fs::read_dir(&path).with_context(|| format!("failed to list {}", path.display()))? {
            let name = format!("{subfolder}/{}", entry?.file_name().to_string_lossy());
            if !files.contains_key(&name) {
                stale.insert(name);
            }
        }
    }
    if !stale.is_empty() {
        let stale: Vec<_> = stale.into_iter().collect();
        bail!(
            "{} in {} are out of date: run `cargo xtask crdgen` and commit the result",
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
    fn check_accepts_only_generated_files() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let files =
            Files::from([("crds/one.yaml".into(), "a: 1".into()), ("admission/two.yaml".into(), "b".into())]);
        write(folder.path(), &files)?;
        compare(folder.path(), &files)?;

        fs::write(folder.path().join("crds/one.yaml"), "a: 2")?;
        let error = compare(folder.path(), &files).err().context("a changed file is accepted")?.to_string();
        assert!(error.contains("crds/one.yaml") && error.contains("cargo xtask crdgen"), "{error}");

        write(folder.path(), &files)?;
        fs::write(folder.path().join("admission/left-over.yaml"), "")?;
        let error = compare(folder.path(), &files).err().context("an extra file is accepted")?.to_string();
        assert!(error.contains("admission/left-over.yaml"), "{error}");
        Ok(())
    }
}
