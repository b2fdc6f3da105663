// Package s3 reads and writes buckets of stores with the S3 API. It is the only package that imports minio-go.
//
// [NewClient] makes a client from options; [Client.Open] opens a place.
//
// Requests that fail temporarily are sent again, a few times and with pauses. An interrupted body is not resumed: reading
// it returns an error, and never an early end of the body.
package s3
