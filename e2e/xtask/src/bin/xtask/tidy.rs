//! Rules of this project that no other tool knows, read from the source tree. Each names the place and the reason.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use xtask::paths;

/// A file that is longer does too much.
const LINE_LIMIT: usize = 800;

/// Folders whose code decides and builds, and so must be repeatable.
const PURE: [&str; 2] = ["operator/src/decision", "operator/src/objects"];

/// What would make it depend on something else than its arguments.
const IMPURE: [&str; 7] =
    ["async fn", "await", "Timestamp::now", "SystemTime::now", "Instant::now", "tracing::", "env::var"];

pub(crate) fn run() -> Result<()> {
    let mut complaints = Vec::new();
    for file in rust_files(paths::workspace())? {
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(paths::workspace())?.to_string_lossy().into_owned();
        complaints.extend(judge(&name, &text));
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

fn judge(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > LINE_LIMIT {
        complaints.push(format!(
            "{name} has {lines} lines: split it by what its parts know ({LINE_LIMIT} at most)"
        ));
    }
    let pure = PURE.iter().any(|folder| name.starts_with(folder));
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let code = line.split("//").next().unwrap_or_default();
        for word in IMPURE.iter().filter(|word| pure && code.contains(**word)) {
            complaints
                .push(format!("{name}:{number}: {word:?} in code that must be pure: pass the value in"));
        }
        if code.trim_start().starts_with("#[ignore") {
            complaints.push(format!("{name}:{number}: an ignored test is forgotten: give it a level"));
        }
    }
    complaints
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_a_decision_is_found_but_not_in_its_comment() {
        let found = judge(
            "operator/src/decision/renewal.rs",
            "// Never Timestamp::now().\nlet x = Timestamp::now();\n",
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("operator/src/decision/renewal.rs:2:"));
    }

    #[test]
    fn a_clock_elsewhere_is_fine() {
        assert!(judge("operator/src/clock.rs", "Timestamp::now()").is_empty());
    }

    #[test]
    fn a_file_that_is_too_long_is_found() {
        assert_eq!(judge("crds/src/lib.rs", &"\n".repeat(LINE_LIMIT + 1)).len(), 1);
    }
}
