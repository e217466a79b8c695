//! Errors of an object store, told apart by what they mean for a file.

use std::io;
use std::path::PathBuf;

use crate::error::{MediaError, is_exhausted};

/// What an object store answered, or why it did not.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct RemoteError {
    said: String,
    status: Option<u16>,
    /// The store's own word, as `SlowDown`.
    code: Option<String>,
}

/// Codes that are about who asks, whatever the object: every file would fail alike. Those of
/// the token service, which a web identity is shown to, are among them.
const WHO_ASKS: [&str; 22] = [
    "AccountIsDisabled",
    "AccountProblem",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationHeaderMalformed",
    "AuthorizationProtocolMismatch",
    "AuthorizationSourceIPMismatch",
    "ExpiredToken",
    "ExpiredTokenException",
    "IDPRejectedClaim",
    "InsufficientAccountPermissions",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "InvalidIdentityToken",
    "InvalidSecurity",
    "InvalidToken",
    "KeyBasedAuthenticationNotPermitted",
    "NotSignedUp",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UserProjectAccountProblem",
    "UserProjectMissing",
];
/// The bucket is gone, or about to be.
const NO_BUCKET: [&str; 4] =
    ["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"];
/// The store allows no such key: most often it is too long.
const NO_KEY: [&str; 6] = [
    "InvalidObjectName",
    "InvalidResourceName",
    "InvalidUri",
    "KeyTooLong",
    "KeyTooLongError",
    "OutOfRangeInput",
];
/// The object has to be ordered out of an archive first: S3, Azure.
const ARCHIVED: [&str; 3] = ["InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"];
/// Where a machine asks for the credentials of its own role: AWS, Google, Azure.
const MACHINES_OWN: [&str; 4] = [
    "/latest/api/token",
    "/latest/meta-data/",
    "/computeMetadata/v1/",
    "/metadata/identity/oauth2/token",
];

impl RemoteError {
    /// The status and the code are in the error's text only: the type that has them is
    /// private to `object_store`.
    pub(crate) fn new(error: &object_store::Error) -> Self {
        let said = error.to_string();
        let after = |mark: &str| said.split_once(mark).map(|(_, rest)| rest);
        let status = after("status code: ").and_then(|rest| rest.get(..3)?.parse().ok());
        let element = |begin: &str, end: &str| {
            let (content, _) = after(begin)?.split_once(end)?;
            Some(content.lines().next().unwrap_or_default().to_owned())
        };
        let code = element("<Code>", "</Code>");
        let said = match (status, &code, element("<Message>", "</Message>")) {
            (Some(status), Some(code), Some(message)) => {
                format!("HTTP {status}, {code}: {message}")
            }
            _ => said,
        };
        Self { status, code, said }
    }

    /// Whether it was not the store that failed, but this machine's own service for
    /// credentials, which is asked where there are no others.
    pub(crate) fn is_of_the_machine(&self) -> bool {
        MACHINES_OWN.iter().any(|path| self.said.contains(path))
    }

    /// The store's own code, or the HTTP status.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        self.code.clone().or_else(|| self.status.map(|status| format!("HTTP {status}")))
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }
}

/// What an error about `path` below `root` means.
pub(crate) fn media_error(root: &str, path: &str, error: &object_store::Error) -> MediaError {
    use object_store::Error;

    let path = path.to_owned();
    if let Some(source) = exhausted(error) {
        return MediaError::Exhausted { path, source };
    }
    let remote = RemoteError::new(error);
    let bad_root = |remote| {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, remote);
        MediaError::BadRoot { path: PathBuf::from(root), source }
    };
    if remote.has_code(&WHO_ASKS) || remote.has_code(&NO_BUCKET) {
        return bad_root(remote);
    }
    if remote.has_code(&ARCHIVED) {
        return MediaError::Archived { path, source: remote };
    }
    if remote.has_code(&NO_KEY) {
        let why = "this object store allows no such key, as where it is too long";
        return MediaError::KeyUnusable { path, why };
    }
    match error {
        Error::NotFound { .. } => {
            MediaError::Missing { path, source: io::Error::new(io::ErrorKind::NotFound, remote) }
        }
        Error::PermissionDenied { .. } => {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, remote);
            MediaError::NotReadable { path, source }
        }
        Error::Unauthenticated { .. } => bad_root(remote),
        Error::Precondition { .. } => {
            MediaError::Changed { path, how: "another object took its name".to_owned() }
        }
        // Of an object the client tells it apart: it was whoever gives the credentials.
        _ if matches!(remote.status, Some(401 | 403)) => bad_root(remote),
        // A request that the store does not take: 408 and 429 are about now, the others
        // about this object, if it is a store that says so.
        _ if remote.code.is_some()
            && remote.status.is_some_and(|status| {
                (400..500).contains(&status) && ![408, 429].contains(&status)
            }) =>
        {
            MediaError::NotReadable { path, source: io::Error::other(remote) }
        }
        _ => MediaError::Remote { path, source: remote },
    }
}

/// What this process was short of, where that is why the store was not asked.
fn exhausted(error: &object_store::Error) -> Option<io::Error> {
    let chain =
        std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let mut errors = chain.filter_map(|error| error.downcast_ref::<io::Error>());
    let short = errors.find(|error| is_exhausted(error))?;
    short.raw_os_error().map(io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_descriptors_is_not_a_store_that_is_away() {
        let no_socket = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        let source = Box::new(no_socket);
        let error = object_store::Error::Generic { store: "S3", source };
        let error = media_error("s3://b", "a", &error);
        assert!(matches!(error, MediaError::Exhausted { .. }), "{error:?}");
        assert_eq!(error.code().as_deref(), Some("EMFILE"));
    }
    use crate::error::Class;

    fn answered(status: &str, body: &str) -> object_store::Error {
        let said = format!(
            "Error performing GET http://s3/bucket/a in 1ms - \
             Server returned non-2xx status code: {status}: {body}"
        );
        let (path, source) = ("a".to_owned(), said.into());
        match &status[..3] {
            "404" => object_store::Error::NotFound { path, source },
            "403" => object_store::Error::PermissionDenied { path, source },
            "401" => object_store::Error::Unauthenticated { path, source },
            "412" => object_store::Error::Precondition { path, source },
            _ => object_store::Error::Generic { store: "S3", source },
        }
    }

    #[test]
    fn each_answer_has_its_kind_code_and_class() {
        use Class::{PermanentForItem, Transient};
        let code = |code: &str| format!("<Error><Code>{code}</Code></Error>");
        let cases = [
            ("404 Not Found", code("NoSuchKey"), "file_missing", "NoSuchKey", PermanentForItem),
            ("404 Not Found", String::new(), "file_missing", "HTTP 404", PermanentForItem),
            (
                "404 Not Found",
                code("NoSuchBucket"),
                "media_root_unusable",
                "NoSuchBucket",
                Transient,
            ),
            (
                "403 Forbidden",
                code("AccessDenied"),
                "file_unreadable",
                "AccessDenied",
                PermanentForItem,
            ),
            (
                "403 Forbidden",
                code("InvalidObjectState"),
                "object_archived",
                "InvalidObjectState",
                Transient,
            ),
            ("409 Conflict", code("BlobArchived"), "object_archived", "BlobArchived", Transient),
            (
                "404 Not Found",
                code("ContainerNotFound"),
                "media_root_unusable",
                "ContainerNotFound",
                Transient,
            ),
            (
                "403 Forbidden",
                code("InvalidAccessKeyId"),
                "media_root_unusable",
                "InvalidAccessKeyId",
                Transient,
            ),
            (
                "403 Forbidden",
                code("SignatureDoesNotMatch"),
                "media_root_unusable",
                "SignatureDoesNotMatch",
                Transient,
            ),
            (
                "400 Bad Request",
                code("ExpiredToken"),
                "media_root_unusable",
                "ExpiredToken",
                Transient,
            ),
            ("401 Unauthorized", String::new(), "media_root_unusable", "HTTP 401", Transient),
            (
                "400 Bad Request",
                code("InvalidRequest"),
                "file_unreadable",
                "InvalidRequest",
                PermanentForItem,
            ),
            ("400 Bad Request", String::new(), "storage_unavailable", "HTTP 400", Transient),
            ("429 Too Many Requests", String::new(), "storage_unavailable", "HTTP 429", Transient),
            ("408 Request Timeout", String::new(), "storage_unavailable", "HTTP 408", Transient),
            (
                "500 Internal Server Error",
                code("InternalError"),
                "storage_unavailable",
                "InternalError",
                Transient,
            ),
            (
                "503 Service Unavailable",
                code("SlowDown"),
                "storage_unavailable",
                "SlowDown",
                Transient,
            ),
        ];
        for (status, body, error_type, code, class) in cases {
            let error = media_error("s3://bucket", "a", &answered(status, &body));
            assert_eq!(error.error_type(), error_type, "{error:?}");
            assert_eq!(error.code().as_deref(), Some(code), "{error:?}");
            assert_eq!(error.class(), class, "{error:?}");
        }
        let error = media_error("s3://bucket", "a", &answered("412 Precondition Failed", ""));
        assert_eq!((error.error_type(), error.class()), ("file_changed", Transient));
    }

    #[test]
    fn a_key_that_a_store_does_not_allow_is_unusable() {
        for code in ["KeyTooLongError", "OutOfRangeInput"] {
            let body = format!("<Error><Code>{code}</Code></Error>");
            let error = media_error("s3://b", "a", &answered("400 Bad Request", &body));
            assert_eq!(error.error_type(), "object_key_unusable", "{error:?}");
        }
    }

    #[test]
    fn an_answer_is_told_in_one_line() {
        let body = "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>Server \
                    failed to authenticate.\nRequestId:1\nTime:2</Message></Error>";
        let error = media_error("az://c", "a", &answered("403 Forbidden", body));
        assert_eq!(error.error_type(), "media_root_unusable");
        let told = "HTTP 403, AuthenticationFailed: Server failed to authenticate.)";
        assert!(error.to_string().contains(told), "{error}");
    }

    #[test]
    fn whoever_refuses_the_credentials_says_nothing_about_a_file() {
        for (status, code, said) in [
            ("403 Forbidden", "", "HTTP 403"),
            ("400 Bad Request", "InvalidIdentityToken", "InvalidIdentityToken"),
        ] {
            let source = format!(
                "Error performing POST https://sts/ in 1ms - Server returned non-2xx status code: \
                 {status}: {}",
                if code.is_empty() { String::new() } else { format!("<Code>{code}</Code>") }
            );
            let error = object_store::Error::Generic { store: "S3", source: source.into() };
            let error = media_error("s3://bucket", "a", &error);
            assert_eq!(error.error_type(), "media_root_unusable", "{error:?}");
            assert_eq!(error.code().as_deref(), Some(said));
        }
    }

    #[test]
    fn a_store_that_does_not_answer_is_transient() {
        let source = "HTTP error: error sending request".into();
        let error = object_store::Error::Generic { store: "S3", source };
        let error = media_error("s3://bucket", "a", &error);
        assert_eq!((error.error_type(), error.class()), ("storage_unavailable", Class::Transient));
        assert_eq!(error.code(), None);
    }
}
