//! HTTP/1.1 around the calls.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answering::Registrar;
use super::encoding;
use super::refusals::Refusals;
use crate::ports::transport::{Connection, LinkError};
use crate::protocol::xmlrpc::registration::Failure;

/// Where the calls go.
const PATH: &str = "/XMLRPC";
/// Bytes of a call at most. A systemid has about 2 KB.
const BODY_MAX: usize = 64 * 1024;
/// Bytes of request line and header at most.
const HEADER_MAX: usize = 16 * 1024;
/// Time for a request's header, which is also how long a connection may idle between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for a request's body, and for its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The protocol version of the original clients; absent or 0 for the oldest.
const CLIENT_VERSION: &str = "X-Client-Version";

/// Serves the requests of one connection.
pub(super) async fn serve(
    connection: Box<dyn Connection>,
    registrar: Arc<Registrar>,
    refusals: Arc<Refusals>,
) -> Result<(), hyper::Error> {
    let peer = connection.peer_addr();
    let service = service_fn(move |request| {
        let (registrar, refusals) = (Arc::clone(&registrar), Arc::clone(&refusals));
        async move {
            let answered = answer(request, &registrar, |failure| refusals.count(failure, peer));
            Ok::<_, Infallible>(answered.await)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_MAX)
        .serve_connection(TokioIo::new(Stream(connection)), service)
        .await
}

async fn answer(
    request: Request<Incoming>,
    registrar: &Registrar,
    refused: impl FnOnce(Failure),
) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return refuse(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    // XML-RPC demands a length, and every client gives one; without, a body that is too long would show only as it comes.
    let Some(length) = request.headers().get(CONTENT_LENGTH).and_then(number) else {
        return refuse(StatusCode::LENGTH_REQUIRED);
    };
    if length > BODY_MAX as u64 {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let speaks_binary = request.headers().get(CLIENT_VERSION).and_then(number).unwrap_or(0) > 0;
    let answered = async {
        let body = Limited::new(request.into_body(), BODY_MAX).collect().await;
        match body {
            Ok(body) => registrar.answer(&body.to_bytes()).await.ok(),
            Err(_) => None,
        }
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, answered).await {
        Ok(Some(outcome)) => {
            outcome.as_ref().err().copied().map(refused);
            encoding::respond(outcome, speaks_binary)
        }
        Ok(None) => refuse(StatusCode::BAD_REQUEST),
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT),
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

fn refuse(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A connection as the HTTP library takes it.
struct Stream(Box<dyn Connection>);

fn io_error(error: LinkError) -> io::Error {
    match error {
        LinkError::Io(error) => error,
        LinkError::Tls(failure) => io::Error::other(failure),
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = ready!(self.0.poll_read(cx, buffer.initialize_unfilled())).map_err(io_error)?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes).map_err(io_error)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_close(cx).map_err(io_error)
    }
}
