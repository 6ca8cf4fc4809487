//! From defaults, a file and the environment to the configuration that counts.
//!
//! Each source is looked over by itself before it is laid over the others, so that whatever is wrong
//! is told with the place it was said in.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use config::{ConfigError, Environment, File, FileFormat};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Config;

/// How a variable's name begins.
const PREFIX: &str = "ROWMILL";
/// What stands between the parts of a variable's name.
const BETWEEN: &str = "__";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML.
    #[error("{place} is not TOML: {source}")]
    Form {
        /// The file.
        place: String,
        /// Where, and why.
        source: ConfigError,
    },
    /// It sets what is no setting.
    #[error("{place}: there is no setting `{name}`{instead}")]
    Unknown {
        /// The file, or the environment.
        place: String,
        /// What it sets.
        name: String,
        /// What there is.
        instead: String,
    },
    /// It sets something to what that cannot be.
    #[error("{place}: `{name}` cannot be {value}: {why}")]
    Value {
        /// The file, or the environment.
        place: String,
        /// What it sets.
        name: String,
        /// To what.
        value: String,
        /// Why not.
        why: String,
    },
    /// It cannot be understood otherwise.
    #[error("{place}: {source}")]
    Other {
        /// The file, or the environment.
        place: String,
        /// Why.
        source: ConfigError,
    },
}

/// The configuration: defaults, then `file`, then those variables that begin with `ROWMILL__`.
///
/// # Errors
/// [`ConfigFault`], with the place and the name of what is wrong.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigFault> {
    let own = |source| ConfigFault::Other { place: "the defaults".into(), source };
    let defaults = Config::default();
    let known = tree(&defaults).map_err(own)?;
    let mut layers =
        config::Config::builder().add_source(config::Config::try_from(&defaults).map_err(own)?);
    let mut config = defaults;
    if let Some(path) = file {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigFault::Read { path: path.to_owned(), source })?;
        let form = |source| ConfigFault::Form { place: place.clone(), source };
        let said = config::Config::builder().add_source(File::from_str(&text, FileFormat::Toml));
        let said = tree(said.build().map_err(form)?).map_err(form)?;
        look_over(&place, &known, &said, "")?;
        layers = layers.add_source(File::from_str(&text, FileFormat::Toml));
        config = lay(&place, layers.clone(), &said)?;
    }
    let start = format!("{PREFIX}{BETWEEN}");
    let ours: HashMap<String, String> =
        environment.into_iter().filter(|(name, _)| name.starts_with(&start)).collect();
    if !ours.is_empty() {
        let place = "the environment";
        let said = Environment::with_prefix(PREFIX)
            .prefix_separator(BETWEEN)
            .separator(BETWEEN)
            .source(Some(ours));
        let other = |source| ConfigFault::Other { place: place.into(), source };
        let layers = layers.add_source(said.clone());
        let alone = config::Config::builder().add_source(said).build().map_err(other)?;
        let said = tree(alone).map_err(other)?;
        look_over(place, &known, &said, "")?;
        config = lay(place, layers, &said)?;
    }
    super::check::check(&config)?;
    Ok(config)
}

/// Sections as objects, settings as their values.
pub(super) fn tree(from: impl Tree) -> Result<Value, ConfigError> {
    from.tree()
}

pub(super) trait Tree {
    fn tree(self) -> Result<Value, ConfigError>;
}

impl Tree for config::Config {
    fn tree(self) -> Result<Value, ConfigError> {
        self.try_deserialize()
    }
}

impl<T: Serialize> Tree for &T {
    fn tree(self) -> Result<Value, ConfigError> {
        serde_json::to_value(self).map_err(|error| ConfigError::Foreign(Box::new(error)))
    }
}

fn lay(
    place: &str,
    layers: config::ConfigBuilder<config::builder::DefaultState>,
    said: &Value,
) -> Result<Config, ConfigFault> {
    let other = |source| ConfigFault::Other { place: place.to_owned(), source };
    layers.build().map_err(other)?.try_deserialize().map_err(|source| {
        let (name, why) = match &source {
            ConfigError::At { error, key: Some(name), .. } => (name.clone(), error.to_string()),
            ConfigError::Type { key: Some(name), expected, .. } => {
                (name.clone(), format!("it is {expected}"))
            }
            _ => return other(source),
        };
        let found = said.pointer(&format!("/{}", name.replace('.', "/")));
        let value = found.map_or_else(String::new, Value::to_string);
        ConfigFault::Value { place: place.to_owned(), name, value, why }
    })
}

/// Refuses what is no setting, and what is of another kind than its default. What comes from the
/// environment is text; whether it is the text of a number is seen when it is read.
fn look_over(place: &str, known: &Value, said: &Value, within: &str) -> Result<(), ConfigFault> {
    let none = Map::new();
    let (known, said) = (known.as_object().unwrap_or(&none), said.as_object().unwrap_or(&none));
    for (key, value) in said {
        let name = if within.is_empty() { key.clone() } else { format!("{within}.{key}") };
        let refused = |why: &str| ConfigFault::Value {
            place: place.to_owned(),
            name: name.clone(),
            value: value.to_string(),
            why: why.to_owned(),
        };
        match (known.get(key), value) {
            (None, _) => {
                let there: Vec<&str> = known.keys().map(String::as_str).collect();
                let instead = format!("; there are {}", there.join(", "));
                return Err(ConfigFault::Unknown { place: place.to_owned(), name, instead });
            }
            (Some(section @ Value::Object(_)), Value::Object(_)) => {
                look_over(place, section, value, &name)?;
            }
            (Some(Value::Object(_)), _) => return Err(refused("it is a section")),
            (Some(Value::Number(n)), Value::Number(said)) if n.is_f64() || !said.is_f64() => {}
            (Some(Value::Number(_) | Value::String(_)), Value::String(_)) => {}
            // A size, or what may also be `none`.
            (Some(Value::String(_)), Value::Number(_)) => {}
            (Some(Value::Bool(_)), Value::Bool(_) | Value::String(_)) => {}
            (Some(Value::Number(n)), _) if n.is_f64() => return Err(refused("it is a number")),
            (Some(Value::Number(_)), _) => return Err(refused("it is a whole number")),
            (Some(_), _) => return Err(refused("it is a text, such as \"30s\" or \"16M\"")),
        }
    }
    Ok(())
}
