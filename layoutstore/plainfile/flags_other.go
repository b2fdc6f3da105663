//go:build !unix

package plainfile

const nonblock, nofollow = 0, 0 // there are no named pipes among files, and no such flag
