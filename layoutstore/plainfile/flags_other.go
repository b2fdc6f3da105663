//go:build !unix

package plainfile

const nonblock, nofollow = 0, 0 // this system has no such flags, and no named pipes among files
