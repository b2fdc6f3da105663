// Package bucket describes access to the objects of a bucket in any store with the S3 API. It
// defines the interfaces [Reader] and [Bucket], and the kinds of errors that their methods return.
// Package s3 implements them; package buckettest runs a store in a test.
//
// [ParsePlace] parses a place, such as s3://bucket/prefix. Keys are relative to that place.
//
// A method returns one of four kinds of errors, which callers distinguish with errors.Is:
//   - fs.ErrNotExist: the object does not exist.
//   - [ErrChanged]: a condition on the object is not met.
//   - The error of the context, once the context has ended.
//   - [ErrUnreachable]: everything else, such as a timeout or a 5xx response. A bucket that does
//     not exist counts as unreachable, so a failure never looks like a missing object.
package bucket
