//! Separates settings of cert-manager that have an effect here from those that have none, and rejects those that must not be
//! ignored. Next: `catalog.rs` for which is which.

use std::ffi::OsString;

use anyhow::{Result, bail};

use super::{
    catalog::{self, Kind, Setting, Treatment},
    config_file::Member,
};

/// A setting of cert-manager that has no effect here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredSetting {
    /// The flag or the member of the configuration file, as it was given.
    pub name: String,
    /// What happens here instead.
    pub effect: &'static str,
    /// The flag, without dashes: each is reported once.
    flag: &'static str,
}

/// What is set by flags and by the configuration file.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    /// The flags that have an effect.
    pub(super) kept: Vec<OsString>,
    /// The settings without effect, each once.
    pub(super) ignored: Vec<IgnoredSetting>,
}

impl Sifted {
    /// Sifts the flags, the first of which is the name of the program.
    pub(super) fn flags(flags: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let mut sifted = Self::default();
        let mut flags = flags.into_iter().peekable();
        while let Some(flag) = flags.next() {
            let text = flag.to_string_lossy();
            let (name, value) =
                text.split_once('=').map_or((&*text, None), |(name, value)| (name, Some(value)));
            match name.strip_prefix("--").and_then(catalog::by_flag) {
                Some(setting) if setting.treatment != Treatment::Supported => {
                    let mut value = value.map(ToOwned::to_owned);
                    if value.is_none() && setting.kind != Kind::Switch {
                        let next = flags.next_if(|next| !next.to_string_lossy().starts_with("--"));
                        value = next.map(|next| next.to_string_lossy().into_owned());
                    }
                    sifted.drop(setting, name, value.as_deref())?;
                }
                _ => sifted.kept.push(flag),
            }
        }
        Ok(sifted)
    }

    /// Adds the members of a configuration file, before the flags: flags override them.
    pub(super) fn add_file(&mut self, members: Vec<Member>) -> Result<()> {
        let flags = self.kept.split_off(1);
        for Member { name, setting, value } in members {
            let flag = format!("--{}", setting.flag);
            let is_same = |it: &OsString| {
                it.to_string_lossy()
                    .strip_prefix(&flag)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            };
            if setting.treatment != Treatment::Supported {
                self.drop(setting, &name, Some(&value))?;
            } else if !flags.iter().any(is_same) {
                // A flag replaces the values of a list, and does not add to them.
                self.kept.push(format!("{flag}={value}").into());
            }
        }
        self.kept.extend(flags);
        Ok(())
    }

    /// Notes a setting without effect.
    fn drop(&mut self, setting: &'static Setting, name: &str, value: Option<&str>) -> Result<()> {
        match setting.treatment {
            Treatment::Rejected(why) if value.is_some_and(|value| !value.is_empty()) => {
                bail!("{name} of cert-manager is not supported: {why}")
            }
            Treatment::Ignored(effect) => self.note(setting.flag, name, effect),
            Treatment::Supported | Treatment::Rejected(_) => {}
        }
        Ok(())
    }

    /// Notes, once, that a setting has no effect.
    pub(super) fn note(&mut self, flag: &'static str, name: &str, effect: &'static str) {
        if !self.ignored.iter().any(|known| known.flag == flag) {
            self.ignored.push(IgnoredSetting { name: name.to_owned(), effect, flag });
        }
    }
}
