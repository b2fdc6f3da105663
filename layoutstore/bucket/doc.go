// Package bucket describes the objects of a bucket, or of a prefix in it, in any store with the S3 API: the interfaces
// [Reader] and [Bucket], and the kinds of errors that their methods return. Package s3 implements them; package
// buckettest runs a store in a test.
//
// [ParsePlace] parses a place, such as s3://bucket/prefix. Keys are relative to that place.
// There are four kinds of errors, distinguished with errors.Is: fs.ErrNotExist for a missing
// object, [ErrChanged] for a condition that does not hold, the error of the context
// once it has ended, and [ErrUnreachable] for everything else: the network, a timeout, an
// answer of 5xx, credentials that the store refuses, a bucket that does not exist. So a failure
// never looks like a missing object.
package bucket
