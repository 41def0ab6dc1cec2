//! Which value of one setting counts: the command line beats the environment, which beats the file.

use super::env::Env;
use super::origin::{Invalid, Origin, Setting};

pub(super) fn typed(flag: &'static str, value: &Option<String>) -> Option<Setting<String>> {
    let value = value.clone()?;
    Some(Setting::new(value, Origin::Flag(flag)))
}

/// The values of one setting: the strongest, and those that it overrides. All must be valid: a
/// value that is overridden in one place counts in the next, and its fault should show before.
pub(super) struct Layers {
    strongest: Setting<String>,
    overridden: Vec<Setting<String>>,
}

impl Layers {
    pub(super) fn parse<U>(
        self,
        parse: impl Fn(&String) -> Result<U, String>,
    ) -> Result<Setting<U>, Invalid> {
        let strongest = self.strongest.parse(&parse)?;
        for setting in self.overridden {
            setting.parse(&parse)?;
        }
        Ok(strongest)
    }
}

pub(super) fn first_of(
    typed: Option<Setting<String>>,
    env: &Env<'_>,
    variable: &str,
    in_file: Option<Setting<String>>,
) -> Result<Option<Layers>, Invalid> {
    let all = [typed, env.variable(variable)?, in_file];
    let mut set = all.into_iter().flatten();
    Ok(set.next().map(|strongest| Layers {
        strongest,
        overridden: set.collect(),
    }))
}

pub(super) fn switch(
    flag: &'static str,
    typed: bool,
    env: &Env<'_>,
    variable: &str,
    in_file: Option<Setting<bool>>,
) -> Result<Setting<bool>, Invalid> {
    let in_env = env.switch(variable, false)?;
    if typed {
        return Ok(Setting::new(true, Origin::Flag(flag)));
    }
    match in_env {
        Setting {
            origin: Origin::Default,
            ..
        } => Ok(in_file.unwrap_or(Setting::default_of(false))),
        set => Ok(set),
    }
}
