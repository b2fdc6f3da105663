// Package bucket reads and writes the objects of one bucket, or of a prefix in it, on any store that speaks S3.
//
// [NewClient] makes a client from options; [Client.Open] opens a place, as s3://bucket/prefix names it. Keys are relative to
// that place. Errors are of four kinds, told apart with errors.Is: fs.ErrNotExist for an object that is missing, [ErrChanged]
// for a condition that does not hold, the error of the context once that has ended, and [ErrUnreachable] for everything else:
// the network, a timeout, an answer of 5xx, credentials that the store refuses, a bucket that does not exist.
// So a caller that takes only fs.ErrNotExist for an absence never takes a fault for one.
//
// Requests that fail in passing are sent again, a few times and with pauses. A body that has begun is never continued: it ends
// with an error, and never early without one.
//
// The package hides minio-go, and is the only one that imports it.
package bucket
