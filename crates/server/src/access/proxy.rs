//! Users whom a proxy in front has logged in, by OpenID Connect for example: it says in headers
//! who they are and which groups they are in.

use axum::http::header::HeaderName;
use axum::http::{HeaderMap, StatusCode};

use super::token::Role;
use crate::problem::Problem;

/// A longer name is no user's.
const MAX_NAME_CHARACTERS: usize = 128;

/// Whom to believe, and who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUsers {
    /// Names the user: `x-forwarded-user`.
    pub user_header: HeaderName,
    /// Names their groups, separated by commas: `x-forwarded-groups`.
    pub groups_header: HeaderName,
    pub operator_groups: Vec<String>,
    /// Without any, whoever the proxy has logged in may read.
    pub viewer_groups: Vec<String>,
}

/// A user, as the proxy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxyUser {
    pub name: String,
    pub role: Role,
}

impl ProxyUsers {
    /// The user whom a request of a trusted proxy is for; `None` where it names nobody.
    ///
    /// # Errors
    /// Where the user may not even read, and where no name can be recorded.
    pub(crate) fn user(&self, headers: &HeaderMap) -> Result<Option<ProxyUser>, Problem> {
        let Some(name) = headers.get(&self.user_header) else { return Ok(None) };
        let name = name.to_str().unwrap_or_default().trim();
        let plain = |letter: char| letter.is_ascii_graphic() && letter != ',' && letter != ';';
        if name.is_empty() || name.len() > MAX_NAME_CHARACTERS || !name.chars().all(plain) {
            let why = "the proxy names a user in characters that cannot be recorded";
            return Err(forbidden(why.to_owned()));
        }
        let groups: Vec<&str> = headers
            .get_all(&self.groups_header)
            .iter()
            .filter_map(|groups| groups.to_str().ok())
            .flat_map(|groups| groups.split(','))
            .map(str::trim)
            .collect();
        let is_in = |of: &[String]| of.iter().any(|group| groups.contains(&group.as_str()));
        let role = if is_in(&self.operator_groups) {
            Role::Operator
        } else if self.viewer_groups.is_empty() || is_in(&self.viewer_groups) {
            Role::Viewer
        } else {
            return Err(forbidden(format!("{name} is in no group that may read")));
        };
        Ok(Some(ProxyUser { name: name.to_owned(), role }))
    }
}

fn forbidden(why: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(viewers: &[&str]) -> ProxyUsers {
        ProxyUsers {
            user_header: HeaderName::from_static("x-forwarded-user"),
            groups_header: HeaderName::from_static("x-forwarded-groups"),
            operator_groups: vec!["ops".to_owned()],
            viewer_groups: viewers.iter().map(|group| (*group).to_owned()).collect(),
        }
    }

    fn headers(user: &str, groups: &str) -> HeaderMap {
        HeaderMap::from_iter([
            (HeaderName::from_static("x-forwarded-user"), user.parse().expect("a value")),
            (HeaderName::from_static("x-forwarded-groups"), groups.parse().expect("a value")),
        ])
    }

    #[test]
    fn groups_give_roles() {
        let role = |viewers: &[&str], groups: &str| {
            let user = users(viewers).user(&headers("ann@example.com", groups));
            user.ok().flatten().map(|user| user.role)
        };
        assert_eq!(role(&[], "staff, ops"), Some(Role::Operator));
        assert_eq!(role(&[], "staff"), Some(Role::Viewer));
        assert_eq!(role(&["staff"], "staff"), Some(Role::Viewer));
        assert_eq!(role(&["staff"], "guests"), None);
        assert_eq!(role(&["staff"], ""), None);
    }

    #[test]
    fn only_a_name_that_can_be_recorded_is_one() {
        for name in ["", " ", "a b", "a;b", &"x".repeat(MAX_NAME_CHARACTERS + 1)] {
            assert!(users(&[]).user(&headers(name, "ops")).is_err(), "{name:?}");
        }
        assert_eq!(users(&[]).user(&HeaderMap::new()), Ok(None));
    }
}
