//! `cargo xtask tidy`: rules of this project that no other tool checks. Each complaint names the place and the reason.
//! Works on lines of text, and doesn't parse Rust. Next: `docs/ARCHITECTURE.md` for the reasons.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use xtask::{paths, process};

/// The most lines of a file. A longer one does too many things.
const LINE_LIMIT: usize = 500;

/// The most characters of a commit title. A longer one is cut off in lists of commits.
const TITLE_LIMIT: usize = 60;

/// Words that must not appear in the code of some folders.
struct Rule {
    folders: &'static [&'static str],
    words: &'static [&'static str],
    reason: &'static str,
}

const RULES: [Rule; 2] = [
    Rule {
        folders: &["operator/src/decision/", "operator/src/objects/"],
        words: &[
            "async ",
            "kube::Client",
            "Api<",
            "Timestamp::now",
            "SystemTime",
            "Instant",
            "clock::",
            "tracing",
            "env::var",
        ],
        reason: "decisions and builders must be pure: pass the value in",
    },
    Rule {
        folders: &["operator/src/controllers/"],
        words: &["Class::", "ServerStatus::", "AuthorizationStatus::", "OrderStatus::"],
        reason: "what a CA's answer means is decided in operator/src/decision: match on actions",
    },
];

pub(crate) fn run() -> Result<()> {
    let mut complaints = Vec::new();
    for file in rust_files(paths::workspace())? {
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(paths::workspace())?.to_string_lossy().into_owned();
        complaints.extend(check_file(&name, &text));
    }
    if let Some(title) = commit_title()? {
        complaints.extend(check_title(&title));
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

fn check_file(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > LINE_LIMIT {
        complaints.push(format!(
            "{name} has {lines} lines, {LINE_LIMIT} are allowed: split it by what its parts know"
        ));
    }
    let rules: Vec<_> =
        RULES.iter().filter(|rule| rule.folders.iter().any(|folder| name.starts_with(folder))).collect();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let code = line.split("//").next().unwrap_or_default();
        for rule in &rules {
            for word in rule.words.iter().filter(|word| code.contains(**word)) {
                complaints.push(format!("{name}:{number}: {word:?}: {}", rule.reason));
            }
        }
        if code.trim_start().starts_with("#[ignore") {
            complaints.push(format!("{name}:{number}: ignored tests are forgotten: give the test a level"));
        }
    }
    complaints
}

fn check_title(title: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let length = title.chars().count();
    if length > TITLE_LIMIT {
        complaints
            .push(format!("the commit title {title:?} has {length} characters, {TITLE_LIMIT} are allowed"));
    }
    if title.contains(';') {
        complaints.push(format!("the commit title {title:?} has a `;`: one commit does one thing"));
    }
    complaints
}

/// The title of HEAD; `None` in a source tree without a repository.
fn commit_title() -> Result<Option<String>> {
    if !paths::workspace().join(".git").exists() {
        return Ok(None);
    }
    let output = Command::new("git")
        .args(["log", "-1", "--format=%s"])
        .current_dir(paths::workspace())
        .output()
        .context("failed to start git")?;
    if !output.status.success() {
        bail!("failed to read the title of HEAD: {}", process::text(&output).trim());
    }
    Ok(Some(String::from_utf8(output.stdout)?.trim().to_owned()))
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
    fn clock_in_a_decision_is_reported() {
        let found = check_file(
            "operator/src/decision/renewal.rs",
            "// Never Timestamp::now().\nlet x = Timestamp::now();\n",
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("operator/src/decision/renewal.rs:2:"), "{found:?}");
    }

    #[test]
    fn clock_elsewhere_is_allowed() {
        assert_eq!(check_file("operator/src/clock.rs", "Timestamp::now()"), Vec::<String>::new());
    }

    #[test]
    fn effect_in_a_builder_is_reported() {
        for code in [
            "pub async fn build() {}",
            "fn f(client: &kube::Client) {}",
            "fn f(api: Api<Secret>) {}",
            "tracing::info!(\"built\");",
        ] {
            assert_eq!(check_file("operator/src/objects/secret.rs", code).len(), 1, "{code}");
        }
        // This only begins like one of the words.
        assert_eq!(
            check_file("operator/src/objects/secret.rs", "fn asynchronous() {}"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn error_class_in_a_controller_is_reported() {
        let code = "match problem.class() { Class::Transient => {} }";
        assert_eq!(check_file("operator/src/controllers/order.rs", code).len(), 1);
        assert_eq!(check_file("operator/src/decision/order.rs", code), Vec::<String>::new());
    }

    #[test]
    fn ignored_test_is_reported() {
        assert_eq!(check_file("crds/src/lib.rs", "    #[ignore = \"slow\"]").len(), 1);
    }

    #[test]
    fn file_over_the_limit_is_reported() {
        assert_eq!(check_file("crds/src/lib.rs", &"\n".repeat(LINE_LIMIT)), Vec::<String>::new());
        assert_eq!(check_file("crds/src/lib.rs", &"\n".repeat(LINE_LIMIT + 1)).len(), 1);
    }

    #[test]
    fn long_or_double_title_is_reported() {
        assert_eq!(check_title("xtask: check commit titles"), Vec::<String>::new());
        assert_eq!(check_title("xtask: check titles; docs: say so").len(), 1);
        assert_eq!(check_title(&"a".repeat(TITLE_LIMIT + 1)).len(), 1);
    }
}
