// Package s3 reads and writes buckets of stores that speak S3. It is the only package that imports minio-go.
//
// [NewClient] makes a client from options; [Client.Open] opens a place.
//
// Requests that fail in passing are sent again, a few times and with pauses. A body that has begun is never continued: it ends
// with an error, and never early without one.
package s3
