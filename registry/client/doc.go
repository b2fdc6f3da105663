// Package client is the client half of the OCI distribution specification 1.1,
// for registries as they are: behind proxies, with tokens, slow, and forgetful.
//
// Start with [ParseReference], which reads a REGISTRY/PATH, and [New], which
// makes a [Client] of one registry. Its methods are the requests of the
// specification: [Client.Manifest], [Client.HeadManifest], [Client.PutManifest],
// [Client.Blob], [Client.HeadBlob], [Client.Tags], [Client.Catalog],
// [Client.Referrers], and [Client.Upload], which mounts or uploads a blob and goes
// on inside of it where an earlier upload was cut.
//
// Each method sends its request as often as it takes: what fails for the moment
// (a cut connection, 429, 5xx, a server that falls silent) is tried again with
// growing, jittered pauses, and a Retry-After is kept. One limiter bounds how many
// requests run at once; 429 and 503 lower it, and success raises it again. There
// is no deadline for a whole transfer, only for a silence within it.
//
// What fails for good is an [*Error]. It says what was asked, what was answered and
// by whom, and wraps one of the causes ([ErrNotFound], [ErrUnauthorized], …), so
// that a caller can tell "absent" from "refused" from "unreachable". A 404 alone is
// "absent". No error and no log line holds a secret: neither credentials nor the
// query of an upload's Location.
//
// go-containerregistry takes part in names and docker's command line in
// credentials. Tokens and uploads are our own: the library refuses realms and
// Locations at private addresses, which closed networks have
// ([Options.AllowPrivateRedirects]), and cannot resume.
package client
