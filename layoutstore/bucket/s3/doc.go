// Package s3 reads and writes buckets of stores with the S3 API. It is the only package that
// imports minio-go.
//
// [NewClient] makes a client from options; [Client.Open] opens a place.
//
// The client retries a request that fails temporarily, up to three times with pauses. It does not
// resume an interrupted body. Reading such a body fails, so it never looks complete.
package s3
