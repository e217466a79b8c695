//! All routes, with what goes around them.

use axum::Router;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use crate::app::Shared;
use crate::{access, api, notifications, pages, problem::Problem};

/// Bearer tokens, which scripts give; browsers have a session.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer =
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        components.add_security_scheme("bearer", bearer);
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "reelshift",
        description = "Status of videos, flags, runs and notifications of a migration."
    ),
    components(schemas(Problem)),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Api;

/// What every operation may answer, and who may ask for it: the rule is by method.
fn complete(document: &mut Document) {
    let problem = || {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        ResponseBuilder::new().content("application/problem+json", content)
    };
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("get", true, &mut item.get),
            ("head", true, &mut item.head),
            ("post", false, &mut item.post),
            ("put", false, &mut item.put),
            ("patch", false, &mut item.patch),
            ("delete", false, &mut item.delete),
        ];
        for (method, reads, operation) in operations {
            let Some(operation) = operation else { continue };
            let words = path.split(|letter: char| !letter.is_ascii_alphanumeric());
            let words = words.filter(|word| !matches!(*word, "" | "api" | "v1"));
            let id = words.fold(method.to_owned(), |id, word| format!("{id}_{word}"));
            operation.operation_id = Some(id);
            let responses = &mut operation.responses.responses;
            let other = problem().description("What is wrong").build();
            responses.entry("default".to_owned()).or_insert(RefOr::T(other));
            if operation.security.is_none() {
                let unknown = problem().description("A valid token is needed").build();
                responses.entry("401".to_owned()).or_insert(RefOr::T(unknown));
                let role = access::guard::needed_role(reads, path).as_str();
                let role = format!("The role {role} is needed");
                let forbidden = problem().description(role).build();
                responses.entry("403".to_owned()).or_insert(RefOr::T(forbidden));
            }
        }
    }
}

fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Api::openapi())
        .merge(api::routes())
        .merge(access::routes())
        .merge(notifications::routes())
        .merge(pages::routes())
}

/// The OpenAPI document of all routes.
#[must_use]
pub fn document() -> Document {
    let mut document = routes().split_for_parts().1;
    complete(&mut document);
    document
}

/// Answers every request.
pub(crate) fn router(app: Shared) -> Router {
    let (routes, _) = routes().split_for_parts();
    let described = api::described(document());
    access::protect(routes.merge(described), &app).with_state(app)
}
