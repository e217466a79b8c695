//! The AWS tools' profiles: what `~/.aws/credentials` and `~/.aws/config` say under the name
//! in `AWS_PROFILE`, `default` without one.
//!
//! Only keys that stand there are taken. A profile that gets its own from somewhere else (a
//! role to assume, a single sign-on, a program) is refused and not passed over: whoever named
//! it did not mean the machine's role.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};

/// Adds what the profile says to what the environment has said already. `variable` reads
/// the environment.
pub(crate) fn add_to(
    builder: AmazonS3Builder,
    variable: impl Fn(&str) -> Option<String>,
) -> io::Result<AmazonS3Builder> {
    let named = variable("AWS_PROFILE").filter(|name| !name.is_empty());
    let profile = Profile::read(named.as_deref().unwrap_or("default"), &variable)?;
    let mut builder = builder;
    if let Some(region) = profile.get("region")
        && builder.get_config_value(&Key::Region).is_none()
    {
        builder = builder.with_region(region);
    }
    let has_keys = builder.get_config_value(&Key::AccessKeyId).is_some()
        || variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
    match (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")) {
        _ if has_keys => {}
        (Some(id), Some(secret)) => {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            if let Some(token) = profile.get("aws_session_token") {
                builder = builder.with_token(token);
            }
        }
        _ => {
            if let Some(name) = named {
                return Err(io::Error::other(format!(
                    "the profile {name:?} of AWS_PROFILE has no aws_access_key_id and \
                     aws_secret_access_key; a role, a single sign-on or a program is not asked: \
                     set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as \
                     `aws configure export-credentials` prints them"
                )));
            }
        }
    }
    Ok(builder)
}

/// The settings of one profile, the credentials file's first.
struct Profile(HashMap<String, String>);

impl Profile {
    fn read(name: &str, variable: impl Fn(&str) -> Option<String>) -> io::Result<Self> {
        let file = |named: &str, usual: &str| {
            let home = || variable("HOME").map(|home| PathBuf::from(home).join(".aws").join(usual));
            variable(named).map(PathBuf::from).or_else(home)
        };
        let mut settings = HashMap::new();
        // In the config file, a profile but the default has its name after a word.
        let long = format!("profile {name}");
        for (path, names) in [
            (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), [name, name]),
            (
                file("AWS_CONFIG_FILE", "config"),
                [&long, if name == "default" { name } else { &long }],
            ),
        ] {
            let Some(path) = path else { continue };
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(io::Error::new(
                        error.kind(),
                        format!("{}: {error}", path.display()),
                    ));
                }
            };
            for (setting, value) in section(&text, &names) {
                settings.entry(setting).or_insert(value);
            }
        }
        Ok(Self(settings))
    }

    fn get(&self, setting: &str) -> Option<&str> {
        self.0.get(setting).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The settings below any of the headings. Indented lines are those of a nested setting.
fn section(text: &str, headings: &[&str]) -> Vec<(String, String)> {
    let mut inside = false;
    let mut settings = Vec::new();
    for line in text.lines() {
        let plain = line.trim();
        if let Some(heading) = plain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let heading = heading.0.split_whitespace().collect::<Vec<_>>().join(" ");
            inside = headings.contains(&heading.as_str());
        } else if inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((setting, value)) = plain.split_once('=')
        {
            settings.push((setting.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "# comment\n[default]\naws_access_key_id = A\n\
        aws_secret_access_key = S=/+\n\n[films]\naws_access_key_id=B\naws_secret_access_key=T\n\
        aws_session_token=U\n[sso]\n";
    const CONFIG: &str = "[default]\nregion = eu-central-1\ns3 =\n  region = nowhere\n\
        [profile films]\nregion=eu-west-3\n[profile sso]\nsso_session=x\n";

    /// Access key, secret, token and region, with these variables.
    fn configured(variables: &[(&str, &str)]) -> Result<[Option<String>; 4], String> {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join(".aws")).expect("a directory");
        std::fs::write(home.path().join(".aws/credentials"), CREDENTIALS).expect("a file");
        std::fs::write(home.path().join(".aws/config"), CONFIG).expect("a file");
        let mut builder = AmazonS3Builder::new();
        for (name, value) in variables {
            if let Ok(key) = name.to_lowercase().parse() {
                builder = builder.with_config(key, *value);
            }
        }
        let variable = |wanted: &str| {
            let given = variables.iter().find(|(name, _)| *name == wanted);
            let given = given.map(|(_, value)| (*value).to_owned());
            given.or_else(|| (wanted == "HOME").then(|| home.path().display().to_string()))
        };
        let builder = add_to(builder, variable).map_err(|error| error.to_string())?;
        Ok([Key::AccessKeyId, Key::SecretAccessKey, Key::Token, Key::Region]
            .map(|key| builder.get_config_value(&key)))
    }

    fn some(values: [&str; 4]) -> Result<[Option<String>; 4], String> {
        Ok(values.map(|value| (!value.is_empty()).then(|| value.to_owned())))
    }

    #[test]
    fn keys_and_region_come_from_the_profile() {
        assert_eq!(configured(&[]), some(["A", "S=/+", "", "eu-central-1"]));
        assert_eq!(configured(&[("AWS_PROFILE", "films")]), some(["B", "T", "U", "eu-west-3"]));
    }

    #[test]
    fn the_environment_comes_first() {
        let keys = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "F")];
        assert_eq!(configured(&keys), some(["E", "F", "", "eu-central-1"]));
        let role = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_REGION", "here")];
        assert_eq!(configured(&role), some(["", "", "", "here"]));
    }

    #[test]
    fn a_profile_without_keys_is_refused_if_it_was_named() {
        for name in ["sso", "none"] {
            let error = configured(&[("AWS_PROFILE", name)]).expect_err("it has no keys");
            assert!(error.contains(&format!("the profile {name:?}")), "{error}");
        }
        let elsewhere =
            [("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"), ("AWS_CONFIG_FILE", "/nowhere")];
        assert_eq!(configured(&elsewhere), some(["", "", "", ""]));
    }
}
