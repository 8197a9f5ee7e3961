//! Builds a program of a Go module into the cache.
//! Must not know which programs there are. Next: `catalog.rs`.

use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use tempfile::NamedTempFile;
use tokio::process::Command;
use xtask::process::text;

use super::{
    catalog::{Edits, GoModule, GoProgram},
    failure,
};

/// Builds `program` in `folder`, and renames it to `target` when it is complete. The caller holds the folder's lock.
pub(super) async fn build(
    module: &GoModule,
    program: &GoProgram,
    folder: &Path,
    target: &Path,
) -> Result<()> {
    let source = folder.join("src");
    let log = folder.join(format!("{}.log", program.binary));
    let partial = folder.join(format!(".{}.partial", program.binary));
    let mut files = vec![("go.mod", module.go_mod), ("go.sum", module.go_sum)];
    files.extend(module.main.map(|main| ("main.go", main)));
    files.extend(module.replacements);
    for (name, content) in files {
        write(&source, name, content).map_err(|error| failure::cache(folder, &error))?;
    }

    let mut flags = "-s -w".to_owned();
    if let Some((package, of)) = module.version_stamp {
        let version = module.version_of(of).with_context(|| format!("{} requires no {of}", module.name))?;
        let mut numbers = version.trim_start_matches('v').split('.');
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", numbers.next().unwrap_or_default()),
            ("gitMinor", numbers.next().unwrap_or_default()),
        ] {
            _ = write!(flags, " -X {package}.{name}={value}");
        }
    }
    let go =
        Go { what: format!("building {} (e2e/testbed/tools/{})", program.binary, module.name), source, log };
    if let Some(edits) = module.edited_main {
        let published = self::module(&go.source, edits.module).await?;
        edit(edits, &published, &go.source.join("main.go"))?;
    }
    let mode = match module.edits {
        Some(edits) => {
            // Go's own copies are read-only.
            go.run(&["mod", "vendor"]).await?;
            let copy = go.source.join("vendor").join(edits.module);
            edit(edits, &copy, &copy.join(edits.file))?;
            "-mod=vendor"
        }
        None => "-mod=readonly",
    };
    let output = partial.to_string_lossy();
    let tags = module.build_tags;
    let arguments =
        ["build", "-trimpath", mode, "-tags", tags, "-ldflags", &flags, "-o", &output, program.package];
    if let Err(error) = go.run(&arguments).await {
        _ = fs::remove_file(&partial);
        return Err(error);
    }
    fs::rename(&partial, target).map_err(|error| failure::cache(folder, &error))
}

/// Writes the versions that a module requires, if they are not there: nothing of it may have been built.
pub(super) fn write_pins(module: &GoModule, source: &Path) -> Result<()> {
    if source.join("go.mod").exists() {
        return Ok(());
    }
    // go.mod is the last, because it stands for all.
    let files = [module.replacements, &[("go.sum", module.go_sum), ("go.mod", module.go_mod)]].concat();
    for (name, content) in files {
        write(source, name, content).map_err(|error| failure::cache(source, &error))?;
    }
    Ok(())
}

/// Writes a file in a folder, or in a subfolder. Other processes may do the same.
fn write(folder: &Path, name: &str, content: &str) -> io::Result<()> {
    let path = folder.join(name);
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent)?;
    let partial = NamedTempFile::new_in(parent)?;
    fs::write(partial.path(), content)?;
    partial.persist(path).map(drop).map_err(|error| error.error)
}

/// Downloads the version of a module that the go.mod in `source` requires, unless Go has it, and returns its folder.
pub(super) async fn module(source: &Path, name: &str) -> Result<PathBuf> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Downloaded {
        dir: PathBuf,
    }
    let go = Go {
        what: format!("downloading {name}"),
        source: source.to_owned(),
        log: source.with_file_name("fetching.log"),
    };
    let printed = go.run(&["mod", "download", "-json", name]).await?;
    // Messages about the download come after the JSON.
    let mut values = serde_json::Deserializer::from_str(&printed).into_iter::<Downloaded>();
    let downloaded = values.next().with_context(|| format!("{} printed nothing", go.what))?;
    Ok(downloaded.with_context(|| format!("{} printed {printed}", go.what))?.dir)
}

/// The `go` command in a folder with a go.mod.
struct Go {
    /// What it does, for errors, such as "building etcd".
    what: String,
    source: PathBuf,
    log: PathBuf,
}

impl Go {
    /// Runs `go` with arguments, and returns what it printed.
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("go")
            .args(arguments)
            .current_dir(&self.source)
            .env("CGO_ENABLED", "0")
            .env_remove("GOFLAGS")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| no_go(&error))?;
        let printed = text(&output);
        // If the log can't be written, the error below has the end of it.
        _ = fs::write(&self.log, &printed);
        if !output.status.success() {
            return Err(failure::program(
                &self.what,
                &printed,
                &self.log,
                "if a download failed, check the network and `go env GOPROXY`; if Go is older than 1.26, install a \
                 newer version; then run the same command again",
            ));
        }
        Ok(printed)
    }
}

/// Applies edits to a file of a module, and writes the result to `target`.
fn edit(edits: &Edits, module: &Path, target: &Path) -> Result<()> {
    let file = module.join(edits.file);
    let mut content = fs::read_to_string(&file).map_err(|error| failure::cache(&file, &error))?;
    replace_each(&mut content, edits.replaced).with_context(|| {
        format!(
            "failed to edit {} of {}. Adapt the edits in e2e/testbed/src/tools/catalog.rs",
            edits.file, edits.module
        )
    })?;
    fs::write(target, content).map_err(|error| failure::cache(target, &error))
}

/// Replaces texts of a published file.
///
/// # Errors
/// One of them does not appear exactly once.
pub(crate) fn replace_each(content: &mut String, replaced: &[(&str, &str)]) -> Result<()> {
    for (before, after) in replaced {
        ensure!(content.matches(before).count() == 1, "the file doesn't have `{before}` exactly once");
        *content = content.replace(before, after);
    }
    Ok(())
}

fn no_go(error: &io::Error) -> anyhow::Error {
    anyhow!(
        "failed to start Go, which builds the testbed's Kubernetes: {error}. Install Go 1.26 or newer, make sure that \
         `go version` works in this shell, and run the same command again"
    )
}
