//! Our images are valid for other tools, and the same bytes wherever they are built. Next: `xtask::image`.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use testbed::tools::{Tool, Tools};
use xtask::{
    paths,
    process::{cargo, text},
};

/// Builds the images. Returns their digests, as `cargo xtask image` prints them.
fn build(arguments: &[&str]) -> Result<Vec<String>> {
    let output = cargo(&["xtask"]).args(arguments).output()?;
    ensure!(output.status.success(), "{}", text(&output));
    let printed = String::from_utf8(output.stdout)?;
    Ok(printed.lines().filter_map(|line| line.split_whitespace().nth(1).map(ToOwned::to_owned)).collect())
}

struct Registry {
    process: Child,
    address: String,
    /// Kept open, because the registry exits when its output is closed.
    _output: Lines<BufReader<ChildStderr>>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Starts an empty registry on a free loopback port.
fn registry(crane: &Path) -> Result<Registry> {
    let mut process = Command::new(crane)
        .args(["registry", "serve", "--address", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut output = BufReader::new(process.stderr.take().context("crane has no standard error")?).lines();
    while let Some(line) = output.next() {
        if let Some((_, port)) = line?.rsplit_once("serving on port ") {
            let address = format!("127.0.0.1:{port}");
            return Ok(Registry { process, address, _output: output });
        }
    }
    anyhow::bail!("crane exited without printing its port")
}

/// crane pushes, pulls, and validates the images.
#[test]
fn images_are_valid_for_another_tool() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let crane = Tools::seen_at(paths::cache()?).path(Tool::Crane);
    let digests = build(&["image", "--output", &folder.path().to_string_lossy()])?;
    let registry = registry(&crane)?;
    for (package, digest) in ["operator", "http01-solver"].into_iter().zip(&digests) {
        let layout = folder.path().join(package);
        tar::Archive::new(File::open(folder.path().join(format!("{package}.tar")))?).unpack(&layout)?;
        let reference = format!("{}/{package}:test", registry.address);
        let run = |arguments: &[&str]| -> Result<String> {
            let output = Command::new(&crane).args(arguments).output()?;
            ensure!(output.status.success(), "crane {arguments:?}: {}", text(&output));
            Ok(String::from_utf8(output.stdout)?)
        };
        run(&["push", &layout.to_string_lossy(), &reference])?;
        run(&["validate", "--remote", &reference])?;
        // An archive is an index of one image.
        let pushed = run(&["digest", "--platform=linux/amd64", &reference])?;
        ensure!(
            pushed.trim() == digest || cfg!(not(target_arch = "x86_64")),
            "{pushed} was pushed, not {digest}"
        );
        let config: serde_json::Value = serde_json::from_str(&run(&["config", &reference])?)?;
        ensure!(config["config"]["User"] == "65532:65532", "{config}");
        ensure!(config["config"]["Entrypoint"] == serde_json::json!([format!("/{package}")]), "{config}");
    }
    Ok(())
}

/// Builds are reproducible: they do not depend on the path of the checkout.
#[test]
fn images_of_another_checkout_are_identical() -> Result<()> {
    let here = build(&["image"])?;
    let elsewhere = tempfile::tempdir()?;
    let source = elsewhere.path().join("a checkout at another path");
    let files = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(paths::workspace())
        .output()?;
    for name in String::from_utf8(files.stdout)?.split('\0').filter(|name| !name.is_empty()) {
        let target = source.join(name);
        fs::create_dir_all(target.parent().context("the file has no folder")?)?;
        fs::copy(paths::workspace().join(name), &target).with_context(|| format!("failed to copy {name}"))?;
    }
    let output = elsewhere.path().join("images");
    let there =
        build(&["image", "--source", &source.to_string_lossy(), "--output", &output.to_string_lossy()])?;
    ensure!(here.len() == 2 && here == there, "the digests are {here:?} here and {there:?} there");
    Ok(())
}
