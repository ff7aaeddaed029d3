//! Somebody who calls the API, and what came back.

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// One kind of credential, or none.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    base: String,
    http: reqwest::Client,
    header: Option<(&'static str, String)>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Caller {
    /// Somebody unknown to the API at `base`.
    pub(crate) fn nobody(base: String) -> Self {
        Self { base, http: reqwest::Client::new(), header: None }
    }

    pub(crate) fn with_access_token(&self, token: &str) -> Self {
        Self { header: Some(("Authorization", format!("Bearer {token}"))), ..self.clone() }
    }

    pub(crate) fn with_api_token(&self, token: &str) -> Self {
        Self { header: Some(("X-API-Key", token.to_owned())), ..self.clone() }
    }

    /// A request to a path below `/api/v1`.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.header {
            Some((name, value)) => request.header(*name, value),
            None => request,
        }
    }

    /// Sends a request to a path below `/api/v1`; `change` may add to it.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Answer {
        let response = change(self.request(method, path)).send().await.expect("the API answers");
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("text") }
    }

    /// Begins to read an answer; its body is left to the caller.
    pub(crate) async fn open(&self, path: &str) -> reqwest::Response {
        let mut request = self.http.get(format!("{}{path}", self.base));
        if let Some((name, value)) = &self.header {
            request = request.header(*name, value);
        }
        request.send().await.expect("the API answers")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, |request| request).await
    }

    /// GET with one header more. The body stays as it came: text, or nothing that can be read as text.
    pub(crate) async fn send_with(&self, path: &str, name: &'static str, value: String) -> Answer {
        let response = self.request(Method::GET, path).header(name, value).send().await.expect("the API answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = String::from_utf8_lossy(&response.bytes().await.expect("a body")).into_owned();
        Answer { status, headers, text }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, |request| request.json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, |request| request.json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, |request| request).await
    }
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { serde_json::from_str(&self.text).expect("JSON") }
    }

    /// The problem of an answer that must have this status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        assert_eq!(problem["code"], code, "{}", self.text);
        assert_eq!(problem["status"], status, "{}", self.text);
        problem
    }

    /// The fields that a 422 names.
    #[track_caller]
    pub(crate) fn wrong_fields(&self) -> Vec<String> {
        let problem = self.refused(422, "invalid");
        let errors = problem["errors"].as_array().expect("a list").iter();
        errors.map(|error| error["field"].as_str().expect("a field").to_owned()).collect()
    }
}
