//! The configuration as a file of its own would say it.

use std::fmt::Write;

use serde_json::Value;

use super::Config;

/// The effective configuration as TOML, complete.
///
/// # Errors
/// None that a person could meet: a limit that has no JSON form is a defect.
pub fn print(config: &Config) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    section(&mut text, "", &serde_json::to_value(config)?);
    Ok(text)
}

/// A section's own settings, then the sections in it.
fn section(text: &mut String, name: &str, value: &Value) {
    let Value::Object(all) = value else { return };
    let (sections, settings): (Vec<_>, Vec<_>) = all.iter().partition(|(_, v)| v.is_object());
    if !settings.is_empty() {
        let gap = if text.is_empty() { "" } else { "\n" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{gap}[{name}]");
        for (key, value) in settings {
            // JSON's strings and numbers are also TOML's.
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    for (key, value) in sections {
        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        section(text, &name, value);
    }
}
