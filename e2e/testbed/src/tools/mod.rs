//! The programs of the testbed: built from source through the Go module proxy, or taken from a Python wheel or from
//! Debian's packages, once per user and version. Must not know what a cluster does with them. Next: `catalog.rs` for the list.
//!
//! Each folder of the cache is named after a hash of the files that pin its content. A program gets its name when it is
//! complete: it is built under another name, and then renamed. A file lock per folder keeps two runs from building the
//! same program; the kernel releases it when a run ends in any way.

mod catalog;
mod deb;
mod failure;
mod go;
pub mod host;
mod wheel;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use aws_lc_rs::digest;
use xtask::{paths, progress::Steps};

use self::catalog::{
    APPROVER_POLICY_MODULE, CERT_MANAGER_MODULE, GO_MODULES, GoModule, GoProgram, PACKAGES, Packages, WHEELS,
    Wheel,
};
pub use self::catalog::{
    CERT_MANAGER, COMPANIONS, CONTROL_PLANE, ENVOY_BASED, INGRESS_NGINX, NETWORKS, NODE, PEBBLE, POLICIES,
    Tool, testbed,
};
pub(crate) use self::go::replace_each;

/// The folder of unpacked packages, in their folder of the cache.
const ROOT: &str = "root";

/// The tools in a cache.
#[derive(Clone, Debug)]
pub struct Tools {
    cache: PathBuf,
}

impl Tools {
    /// Builds or fetches the tools in `needed` that the cache lacks.
    ///
    /// # Errors
    /// One paragraph that says what is missing or broken and what to do about it.
    pub async fn ensure(needed: &[Tool], steps: &Steps) -> Result<Self> {
        let tools = Self { cache: paths::cache()? };
        let is_missing = |tool: Tool| needed.contains(&tool) && !tools.path(tool).exists();
        let total = catalog::all().filter(|tool| is_missing(*tool)).count();
        let mut position = 0;
        for module in GO_MODULES {
            let missing: Vec<_> = module.programs.iter().filter(|program| is_missing(program.tool)).collect();
            if missing.is_empty() {
                continue;
            }
            let folder = tools.folder(module.name, &module.hash());
            let _lock = lock(&folder, steps)?;
            for program in missing {
                position += 1;
                let target = folder.join(program.binary);
                if target.exists() {
                    continue;
                }
                let step = steps.begin(
                    format!("building {} ({position} of {total})", program.binary),
                    Some(Duration::from_secs(program.usual_seconds)),
                );
                go::build(module, program, &folder, &target).await?;
                step.done("");
            }
        }
        for wheel in WHEELS.iter().filter(|wheel| is_missing(wheel.tool)) {
            position += 1;
            let target = tools.path(wheel.tool);
            let folder = target.parent().expect("a tool is in a folder");
            let _lock = lock(folder, steps)?;
            if !target.exists() {
                let step = steps.begin(
                    format!("fetching {} ({position} of {total})", wheel.binary),
                    Some(Duration::from_secs(10)),
                );
                wheel::fetch(wheel, folder, &target).await?;
                step.done("");
            }
        }
        for packages in PACKAGES.iter().filter(|packages| is_missing(packages.tool)) {
            position += 1;
            let folder = tools.folder(packages.name, &hash(packages.names));
            let _lock = lock(&folder, steps)?;
            if !tools.path(packages.tool).exists() {
                let step = steps.begin(
                    format!("fetching {} ({position} of {total})", packages.name),
                    Some(Duration::from_secs(3)),
                );
                deb::fetch(packages, &folder, &folder.join(ROOT)).await?;
                step.done("");
            }
        }
        Ok(tools)
    }

    /// The root of the unpacked packages of a tool from Debian, where [`Tools::ensure`] has put them.
    pub fn packages_of(&self, tool: Tool) -> Result<PathBuf> {
        let packages = find_packages(tool).context("the tool is not from Debian")?;
        Ok(self.folder(packages.name, &hash(packages.names)).join(ROOT))
    }

    /// The folder of cert-manager's Go module, which has its definitions and its chart, among other files.
    ///
    /// # Errors
    /// The module can't be downloaded.
    pub async fn cert_manager_source(&self) -> Result<PathBuf> {
        self.cert_manager_dependency(CERT_MANAGER_MODULE).await
    }

    /// The folder of a Go module that cert-manager is built with, in the version that it is built with.
    ///
    /// # Errors
    /// The module can't be downloaded, or is not one of these.
    pub async fn cert_manager_dependency(&self, name: &str) -> Result<PathBuf> {
        self.module_of(Tool::CertManager, name).await
    }

    /// The folder of a Go module that a tool is built with, in the version that it is built with. The tool itself may be missing.
    ///
    /// # Errors
    /// The module can't be downloaded, or the tool is not built with it.
    pub async fn module_of(&self, tool: Tool, name: &str) -> Result<PathBuf> {
        let (module, _) = find(tool).context("the tool is not built with Go")?;
        let source = self.path(tool).with_file_name("src");
        go::write_pins(module, &source)?;
        go::module(&source, name).await
    }

    /// The CustomResourceDefinition of approver-policy, YAML.
    ///
    /// # Errors
    /// The module can't be downloaded, or lacks the file.
    pub async fn approver_policy_definition(&self) -> Result<String> {
        let module = self.module_of(Tool::ApproverPolicy, APPROVER_POLICY_MODULE).await?;
        let path = module.join("deploy/crds/policy.cert-manager.io_certificaterequestpolicies.yaml");
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    }

    /// The version of cert-manager that is built.
    pub fn cert_manager_version() -> Result<&'static str> {
        let mut versions = GO_MODULES.iter().filter_map(|module| module.version_of(CERT_MANAGER_MODULE));
        versions.next().context("e2e/testbed/tools/certmanager/go.mod does not require cert-manager")
    }

    /// The tools in a cache at this path, which may be a path in another mount namespace. Builds nothing.
    pub fn seen_at(cache: impl Into<PathBuf>) -> Self {
        Self { cache: cache.into() }
    }

    /// The path of a program. It exists if [`Tools::ensure`] was called for this tool.
    pub fn path(&self, tool: Tool) -> PathBuf {
        if let Some((module, program)) = find(tool) {
            return self.folder(module.name, &module.hash()).join(program.binary);
        }
        if let Some(packages) = find_packages(tool) {
            return self.folder(packages.name, &hash(packages.names)).join(ROOT).join(packages.binary);
        }
        let wheel = find_wheel(tool).expect("a tool is in the catalog");
        self.folder(wheel.binary, &hash(&[wheel.requirements])).join(wheel.binary)
    }

    fn folder(&self, name: &str, hash: &str) -> PathBuf {
        self.cache.join("tools").join(format!("{name}-{hash}"))
    }
}

impl GoModule {
    fn hash(&self) -> String {
        let mut pins = vec![self.go_mod, self.go_sum];
        pins.extend(self.main);
        pins.extend(self.replacements.iter().flat_map(|(name, content)| [*name, *content]));
        if !self.build_tags.is_empty() {
            pins.push(self.build_tags);
        }
        for edits in self.edits.into_iter().chain(self.edited_main) {
            pins.push(edits.file);
            pins.extend(edits.replaced.iter().flat_map(|(before, after)| [*before, *after]));
        }
        hash(&pins)
    }
}

fn find(tool: Tool) -> Option<(&'static GoModule, &'static GoProgram)> {
    GO_MODULES.iter().find_map(|module| {
        module.programs.iter().find(|program| program.tool == tool).map(|program| (module, program))
    })
}

fn find_wheel(tool: Tool) -> Option<&'static Wheel> {
    WHEELS.iter().find(|wheel| wheel.tool == tool)
}

fn find_packages(tool: Tool) -> Option<&'static Packages> {
    PACKAGES.iter().find(|packages| packages.tool == tool)
}

/// Creates a folder of the cache, and locks it. Says so if it has to wait for another run.
fn lock(folder: &Path, steps: &Steps) -> Result<File> {
    let attempt = || -> std::io::Result<File> {
        fs::create_dir_all(folder)?;
        File::create(folder.join(".lock"))
    };
    let file = attempt().map_err(|error| failure::cache(folder, &error))?;
    if file.try_lock().is_err() {
        steps.say(format!("  … waiting for another run, which is building in {}", folder.display()));
        file.lock().with_context(|| format!("failed to lock {}", folder.display()))?;
    }
    Ok(file)
}

/// The first 12 hexadecimal digits of a SHA-256 over texts and their boundaries.
fn hash(texts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for text in texts {
        context.update(text.as_bytes());
        context.update(&[0]);
    }
    xtask::image::hex(&context.finish().as_ref()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_depends_on_texts_and_boundaries() {
        assert_eq!(hash(&["a", "b"]).len(), 12);
        assert_ne!(hash(&["a", "b"]), hash(&["a", "c"]));
        assert_ne!(hash(&["ab", ""]), hash(&["a", "b"]));
    }

    #[test]
    fn stamped_version_is_read_from_go_mod() {
        let (kubernetes, _) = find(Tool::KubeApiserver).expect("kube-apiserver is in the catalog");
        let version = kubernetes.version_of("k8s.io/kubernetes").expect("go.mod requires it");
        assert!(version.starts_with("v1."), "{version}");
    }

    #[test]
    fn tool_has_a_path_of_its_own() {
        let tools = Tools::seen_at("/cache");
        let all =
            [&testbed(), CERT_MANAGER, COMPANIONS, ENVOY_BASED, INGRESS_NGINX, NETWORKS, POLICIES].concat();
        let mut paths: Vec<_> = all.iter().map(|tool| tools.path(*tool)).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), all.len(), "{paths:?}");
    }

    #[test]
    fn set_has_each_tool_of_the_catalog_once() {
        for set in [
            [CONTROL_PLANE, NODE].concat(),
            PEBBLE.to_vec(),
            testbed(),
            CERT_MANAGER.to_vec(),
            COMPANIONS.to_vec(),
            ENVOY_BASED.to_vec(),
            INGRESS_NGINX.to_vec(),
            NETWORKS.to_vec(),
            POLICIES.to_vec(),
        ] {
            for tool in &set {
                assert!(
                    find(*tool).is_some() || find_wheel(*tool).is_some() || find_packages(*tool).is_some(),
                    "{tool:?} is not in the catalog"
                );
                assert_eq!(
                    set.iter().filter(|other| *other == tool).count(),
                    1,
                    "{tool:?} is in {set:?} twice"
                );
            }
        }
    }
}
