// Package bucket describes the objects of one bucket, or of a prefix in it, on any store that speaks S3: the interfaces [Reader] and
// [Bucket], and the kinds of errors that their methods return. Package s3 below it speaks to stores; package buckettest runs one in a test.
//
// [ParsePlace] reads a place, as s3://bucket/prefix names it. Keys are relative to that place.
// There are four kinds of errors, distinguished with errors.Is: fs.ErrNotExist for an object
// that is missing, [ErrChanged] for a condition that does not hold, the error of the context
// once that has ended, and [ErrUnreachable] for everything else: the network, a timeout, an
// answer of 5xx, credentials that the store refuses, a bucket that does not exist. So a caller
// for which only fs.ErrNotExist means "absent" never mistakes a failure for one.
package bucket
