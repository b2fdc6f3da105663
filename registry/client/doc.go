// Package client is the client side of the OCI distribution specification 1.1, for
// registries as they are in practice: behind proxies, with tokens, slow, and unreliable.
//
// Start with [ParseReference], which parses REGISTRY/PATH, and [New], which makes a
// [Client] for one registry. Its methods are the requests of the specification:
// [Client.Manifest], [Client.HeadManifest], [Client.PutManifest], [Client.Blob],
// [Client.HeadBlob], [Client.Tags], [Client.Catalog], [Client.Referrers], and
// [Client.Upload], which mounts or uploads a blob and resumes an interrupted upload.
//
// Each method retries temporary failures (a cut connection, 429, 5xx, a server that stops
// sending) with growing, jittered pauses, and honors Retry-After. One limiter bounds how
// many requests run at once: 429 and 503 lower the bound, and success raises it again. A
// transfer has no deadline, but it fails if it makes no progress for too long.
//
// A permanent failure is an [*Error]. It says what was requested, what was answered and by
// which host, and wraps one of the causes ([ErrNotFound], [ErrUnauthorized], …), so that a
// caller can distinguish "absent" from "refused" and "unreachable". Only a 404 means
// "absent". No error and no log line contains a secret: neither credentials nor the query
// of an upload's Location.
//
// go-containerregistry parses names, and the packages of docker's command line find
// credentials. Tokens and uploads are implemented here: go-containerregistry refuses realms
// and Locations at private addresses, which closed networks use
// ([Options.AllowPrivateRedirects]), and cannot resume uploads.
package client
