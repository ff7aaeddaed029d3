//! The management API, as somebody who is logged in uses it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    base: String,
    http: reqwest::Client,
    token: String,
}

impl Session {
    /// Logs in at a controller's [`url`](super::controller::Controller::url).
    ///
    /// # Panics
    /// When that is refused.
    pub(crate) async fn log_in(url: &str, username: &str, password: &str) -> Self {
        let (base, http) = (format!("{url}/api/v1"), reqwest::Client::new());
        let mut session = Self { base, http, token: String::new() };
        let tokens = session.post("/auth/login", json!({ "username": username, "password": password })).await;
        tokens["access_token"].as_str().expect("an access token").clone_into(&mut session.token);
        session
    }

    /// Logs in with a password that somebody else has set, and replaces it.
    pub(crate) async fn log_in_first(url: &str, username: &str, given: &str, own: &str) -> Self {
        let session = Self::log_in(url, username, given).await;
        session.post("/auth/password", json!({ "current_password": given, "new_password": own })).await;
        Self::log_in(url, username, own).await
    }

    /// Sends a request to a path below `/api/v1`; status and body of the answer.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.expect("the API answers");
        let (status, text) = (response.status(), response.text().await.expect("an answer is text"));
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn must(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.send(method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path} got {status}: {answer}");
        answer
    }

    /// Must succeed.
    #[allow(dead_code, reason = "tests that look at objects use it")]
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.must(Method::GET, path, None).await
    }

    /// Must succeed.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.must(Method::POST, path, Some(&body)).await
    }

    /// Must succeed.
    #[allow(dead_code, reason = "the demo uses it")]
    pub(crate) async fn put(&self, path: &str) -> Value {
        self.must(Method::PUT, path, None).await
    }
}
