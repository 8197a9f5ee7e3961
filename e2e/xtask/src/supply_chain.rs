//! What lets users verify a release: a software bill of materials for each binary, checksums, and a signature of these.
//! Knows files and the programs that write them. Next: `release.rs` for the binaries, "Releases" in CONTRIBUTING.md for the process.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    image, process,
    progress::Steps,
    release::Built,
    tool::{AUDITABLE2CDX, CARGO_DENY},
};

/// The environment variable with the path of the key that signs: PEM, ECDSA.
pub const SIGNING_KEY: &str = "ACME_OPERATOR_SIGNING_KEY";

/// The file with the checksums of all others.
const CHECKSUMS: &str = "SHA256SUMS";

/// Checks the dependencies for known vulnerabilities.
///
/// # Errors
/// There is one, or the database of advisories can't be fetched: then nothing was checked.
pub fn check_advisories(workspace: &Path, steps: &Steps) -> Result<()> {
    let deny = CARGO_DENY.binary(steps)?;
    let step = steps.begin("security advisories of dependencies", None);
    let mut command = Command::new(deny);
    command.current_dir(workspace).args([
        "--log-level=error",
        "--locked",
        "--all-features",
        "check",
        "advisories",
    ]);
    process::run(&mut command).context(
        "the dependencies have known vulnerabilities, or the database of advisories (github.com/RustSec/advisory-db) can't be \
         fetched and nothing was checked: see above",
    )?;
    step.done("");
    Ok(())
}

/// Writes what lets users verify images next to them: for each a bill of materials, and the checksums of everything. Signs the
/// checksums if [`SIGNING_KEY`] is set. Returns the files.
///
/// # Errors
/// A binary does not list its dependencies, or a program fails.
pub fn write(folder: &Path, images: &[Built], steps: &Steps) -> Result<Vec<PathBuf>> {
    let converter = AUDITABLE2CDX.binary(steps)?;
    let mut files: Vec<_> = images.iter().map(|image| image.archive.clone()).collect();
    for image in images {
        let bill = image.archive.with_extension("cdx.json");
        fs::write(&bill, bill_of_materials(&converter, &image.binary)?)
            .with_context(|| format!("failed to write {}", bill.display()))?;
        files.push(bill);
    }
    let checksums = folder.join(CHECKSUMS);
    fs::write(&checksums, checksums_of(&files)?)
        .with_context(|| format!("failed to write {}", checksums.display()))?;
    files.push(checksums.clone());
    match env::var_os(SIGNING_KEY) {
        Some(key) => files.push(sign(&checksums, Path::new(&key))?),
        None => steps.say(format_args!("{CHECKSUMS} is not signed, because {SIGNING_KEY} is not set")),
    }
    Ok(files)
}

/// The dependencies that a binary lists, as CycloneDX JSON.
fn bill_of_materials(converter: &Path, binary: &Path) -> Result<Vec<u8>> {
    let output = Command::new(converter)
        .arg(binary)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {}", converter.display()))?;
    if !output.status.success() {
        bail!("failed to read the dependencies of {}: {}", binary.display(), process::text(&output).trim());
    }
    let bill: Value = serde_json::from_slice(&output.stdout).context("the bill of materials is not JSON")?;
    let components = bill["components"].as_array().map_or(0, Vec::len);
    ensure!(components > 0, "the bill of materials of {} lists nothing", binary.display());
    Ok(output.stdout)
}

/// One line for each file, as sha256sum(1) reads it.
fn checksums_of(files: &[PathBuf]) -> Result<String> {
    let line = |path: &PathBuf| {
        let name = path.file_name().context("a file has no name")?.to_string_lossy().into_owned();
        let digest = image::sha256_of(path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(format!("{digest}  {name}\n"))
    };
    files.iter().map(line).collect()
}

/// Signs a file: ECDSA over its SHA-256, DER in base64, which openssl and cosign verify.
fn sign(file: &Path, key: &Path) -> Result<PathBuf> {
    let signature = file.with_extension("sig");
    let signed = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(key)
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .context("failed to start openssl, which signs: install it")?;
    if !signed.status.success() {
        bail!(
            "failed to sign with the key of {SIGNING_KEY}: {}",
            String::from_utf8_lossy(&signed.stderr).trim()
        );
    }
    fs::write(&signature, signed.stdout)
        .with_context(|| format!("failed to write {}", signature.display()))?;
    Ok(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &str, folder: &Path, arguments: &[&str]) -> bool {
        let output = Command::new(program).args(arguments).current_dir(folder).output();
        output.unwrap_or_else(|error| panic!("{program}: {error}")).status.success()
    }

    /// With the programs that users have.
    #[test]
    fn users_detect_a_changed_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, file) = (folder.path(), folder.path().join("operator.tar"));
        fs::write(&file, "an image").expect("a file");
        let checksums = path.join(CHECKSUMS);
        fs::write(&checksums, checksums_of(std::slice::from_ref(&file)).expect("checksums")).expect("a file");
        let curve = ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem"];
        assert!(run("openssl", path, &curve));
        assert!(run("openssl", path, &["ec", "-in", "key.pem", "-pubout", "-out", "key.pub"]));
        sign(&checksums, &path.join("key.pem")).expect("a signature");
        let is_signed = || {
            let verify = ["dgst", "-sha256", "-verify", "key.pub", "-signature", "SHA256SUMS.sig", CHECKSUMS];
            run("openssl", path, &verify)
        };
        let is_unchanged = || run("sha256sum", path, &["--check", "--strict", CHECKSUMS]);
        assert!(is_signed() && is_unchanged());
        fs::write(&file, "another image").expect("a file");
        assert!(is_signed() && !is_unchanged());
        fs::write(&checksums, checksums_of(&[file]).expect("checksums")).expect("a file");
        assert!(!is_signed() && is_unchanged());
    }

    #[test]
    fn unusable_key_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(CHECKSUMS);
        fs::write(&file, "").expect("a file");
        let error = sign(&file, &folder.path().join("missing.pem")).expect_err("no key");
        assert!(error.to_string().contains(SIGNING_KEY), "{error}");
        assert!(!file.with_extension("sig").exists());
    }

    #[test]
    fn binary_without_its_dependencies_is_an_error() {
        let echo = |text: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("bill");
            fs::write(&file, text).expect("a file");
            bill_of_materials(Path::new("cat"), &file)
        };
        assert!(echo(r#"{"components":[{"name":"tokio"}]}"#).is_ok());
        for text in [r#"{"components":[]}"#, "{}", "not JSON"] {
            assert!(echo(text).is_err(), "{text}");
        }
    }
}
