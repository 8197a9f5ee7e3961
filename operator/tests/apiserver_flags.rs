//! Every member of the configuration file of the cert-manager that is built is one of the settings that the operator knows. A new
//! version of it shows what is new.
//!
//! Reads the Go types of the file. cert-manager's program is in a module of its own that no proxy has, so its flags can't be read:
//! each member is listed with the flag that sets the same. Next: `operator/src/args/catalog.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use operator::args::catalog::{SETTINGS, Treatment, VERSION};
use testbed::{paths, tools::Tools};

/// The fields of a struct: the name in JSON (empty if inlined), and the type.
type Fields = Vec<(String, String)>;

/// Adds the structs of the Go files in a folder.
fn read_structs(folder: &Path, structs: &mut BTreeMap<String, Fields>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        let is_types = path.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("types"));
        if is_types && path.extension().is_some_and(|extension| extension == "go") {
            parse(&fs::read_to_string(&path)?, structs);
        }
    }
    Ok(())
}

fn parse(text: &str, structs: &mut BTreeMap<String, Fields>) {
    let mut current: Option<(String, Fields)> = None;
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match (&mut current, &words[..]) {
            (None, ["type", name, "struct", "{"]) => current = Some(((*name).to_owned(), Fields::new())),
            (Some(_), ["}"]) => structs.extend(current.take()),
            (Some((_, fields)), [first, rest @ ..]) if !first.starts_with("//") => {
                let Some((_, tag)) = line.split_once("json:\"") else { continue };
                let json = tag.split(['"', ',']).next().unwrap_or_default();
                // An embedded struct has only a type.
                let r#type = rest.first().filter(|it| !it.starts_with('`')).unwrap_or(first);
                let plain = r#type.trim_start_matches('*').rsplit('.').next().unwrap_or_default();
                fields.push((json.to_owned(), plain.to_owned()));
            }
            _ => {}
        }
    }
}

/// The members of a struct, with dots between the names of objects.
fn members(name: &str, structs: &BTreeMap<String, Fields>, prefix: &str, found: &mut BTreeSet<String>) {
    for (json, r#type) in &structs[name] {
        // The leader election that both packages have is inlined into the controller's, which has the same name.
        let inner = if json.is_empty() { &format!("{}:{type}", "shared") } else { r#type };
        let is_object = structs.contains_key(inner) && !inner.ends_with("Duration");
        match (json.as_str(), is_object) {
            ("-", _) | ("", false) => {}
            ("", true) => members(inner, structs, prefix, found),
            (json, true) => members(inner, structs, &format!("{prefix}{json}."), found),
            (json, false) => _ = found.insert(format!("{prefix}{json}")),
        }
    }
}

/// Reads the structs of all packages that the file's types are in. Those that may be inlined are also listed as `shared:Name`.
async fn structs() -> Result<BTreeMap<String, Fields>> {
    let tools = Tools::seen_at(paths::cache()?);
    let cert_manager = tools.cert_manager_source().await?;
    let logs = tools.cert_manager_dependency("k8s.io/component-base").await?;
    let mut structs = BTreeMap::new();
    read_structs(&cert_manager.join("pkg/apis/config/shared/v1alpha1"), &mut structs)?;
    read_structs(&logs.join("logs/api/v1"), &mut structs)?;
    let inlined: Vec<_> =
        structs.iter().map(|(name, fields)| (format!("shared:{name}"), fields.clone())).collect();
    structs.extend(inlined);
    read_structs(&cert_manager.join("pkg/apis/config/controller/v1alpha1"), &mut structs)?;
    Ok(structs)
}

#[tokio::test]
async fn members_are_those_of_the_cert_manager_built() -> Result<()> {
    let version = Tools::cert_manager_version()?;
    ensure!(
        version.starts_with(VERSION),
        "cert-manager is {version}, but the settings are those of {VERSION}"
    );
    let mut upstream = BTreeSet::new();
    members("ControllerConfiguration", &structs().await?, "", &mut upstream);
    let known: BTreeSet<String> =
        SETTINGS.iter().flat_map(|setting| setting.members).map(ToString::to_string).collect();
    let (new, gone): (Vec<_>, Vec<_>) =
        (upstream.difference(&known).collect(), known.difference(&upstream).collect());
    ensure!(new.is_empty() && gone.is_empty(), "new in cert-manager {version}: {new:?}; not in it: {gone:?}");
    let count = |is: fn(&Treatment) -> bool| {
        let selected = SETTINGS.iter().filter(|setting| is(&setting.treatment));
        selected.fold((0, 0), |(flags, members), it| (flags + 1, members + it.members.len()))
    };
    let (supported, ignored, rejected) = (
        count(|it| matches!(it, Treatment::Supported)),
        count(|it| matches!(it, Treatment::Ignored(_))),
        count(|it| matches!(it, Treatment::Rejected(_))),
    );
    println!("cert-manager {version}: {} flags, {} members", SETTINGS.len(), upstream.len());
    for (what, (flags, members)) in
        [("supported", supported), ("accepted with a warning", ignored), ("rejected", rejected)]
    {
        println!("{what}: {flags} flags, {members} members");
    }
    Ok(())
}
