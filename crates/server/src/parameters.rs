//! Query parameters that an operation does not have: refused, so that a misspelt filter is not
//! taken for none. Which there are is what the OpenAPI document says.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use crate::problem::Problem;

/// A name that is repeated in an answer is cut to this.
const MAX_NAME_CHARACTERS: usize = 64;

/// The parameters of each operation, by method and path.
#[derive(Debug, Default)]
pub(crate) struct Parameters(HashMap<(String, String), Vec<String>>);

impl Parameters {
    pub(crate) fn new(document: &Value) -> Self {
        let mut known = HashMap::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let names = parameters
                    .filter(|parameter| parameter["in"] == "query")
                    .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned));
                known.insert((method.to_uppercase(), path.clone()), names.collect());
            }
        }
        Self(known)
    }

    /// What is wrong with `query`. Routes that the document does not have (pages) take anything.
    fn check(&self, method: &Method, path: &str, query: &str) -> Result<(), Problem> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let Some(known) = self.0.get(&(method.to_string(), path.to_owned())) else {
            return Ok(());
        };
        let mut names = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
        let Some(unknown) = names.find(|name| !known.iter().any(|known| known == name)) else {
            return Ok(());
        };
        let unknown: String = unknown.chars().take(MAX_NAME_CHARACTERS).collect();
        let there_are = match &known[..] {
            [] => "this operation has no parameters".to_owned(),
            known => format!("this operation has {}", known.join(", ")),
        };
        Err(Problem::bad_request(format!("unknown parameter `{unknown}`: {there_are}")))
    }
}

pub(crate) async fn check(
    State(known): State<Arc<Parameters>>,
    request: Request,
    next: Next,
) -> Response {
    if let (Some(query), Some(path)) =
        (request.uri().query(), request.extensions().get::<MatchedPath>())
        && let Err(unknown) = known.check(request.method(), path.as_str(), query)
    {
        return unknown.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_the_operation_are_taken() {
        let document = crate::router::document();
        let known = Parameters::new(&document);
        let check = |path: &str, query: &str| known.check(&Method::GET, path, query);
        assert_eq!(check("/api/v1/runs", "state=failed&limit=5"), Ok(()));
        assert_eq!(check("/failures", "anything=1"), Ok(()), "a page");
        let refused = check("/api/v1/runs", "stat=failed").expect_err("it is misspelt");
        assert_eq!(refused.status, 400);
        assert!(refused.detail.starts_with("unknown parameter `stat`: this operation has "));
        assert!(refused.detail.contains("state"), "{}", refused.detail);
        let none = check("/api/v1/flags", "a=1").expect_err("it has none");
        assert!(none.detail.ends_with("this operation has no parameters"), "{}", none.detail);
        assert!(known.check(&Method::HEAD, "/api/v1/runs", "stat=1").is_err());
    }
}
