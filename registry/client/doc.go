// Package client is a client for the OCI distribution specification 1.1. It expects registries as
// they are in practice: behind proxies, with tokens, slow, and unreliable.
//
// Start with [ParseReference], which parses REGISTRY/PATH, and [New], which makes a [Client] for
// one registry. Its methods are the requests of the specification: [Client.Manifest],
// [Client.HeadManifest], [Client.PutManifest], [Client.Blob], [Client.HeadBlob], [Client.Tags],
// [Client.Catalog] and [Client.Referrers]. [Client.Upload] mounts or uploads a blob, and resumes an
// interrupted upload.
//
// Each method retries temporary failures: a cut connection, 429, 5xx, or a server that stops
// sending. The pauses between tries grow, are random in part, and honor Retry-After. One limiter
// bounds how many requests run at once: 429 and 503 lower the bound, and success raises it again. A
// transfer has no deadline, but it fails if it makes no progress for too long.
//
// A permanent failure is an [*Error]. It describes the request, the answer, and the host that
// answered. It wraps one of the causes, such as [ErrNotFound] or [ErrUnauthorized]. So a caller can
// distinguish "absent" from "refused" and "unreachable". Only a 404 means "absent". No error and no
// log line contains a secret: neither credentials nor the query of an upload's Location.
//
// go-containerregistry parses names, and packages of docker's command line find credentials. Tokens
// and uploads are implemented here, for two reasons. go-containerregistry cannot resume uploads. It
// also refuses realms and Locations at private addresses, which closed networks use
// ([Options.AllowPrivateRedirects]).
package client
