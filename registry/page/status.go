package page

import (
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Status is what the pages show about a server, except for its tree.
type Status struct {
	Generation   uint64
	Since        time.Time // start of the current generation
	Repositories int
	Tags         int
	Roots        []string
	Sources      []layoutstore.SourceStatus
	Problems     []layoutstore.Problem
	// Checked means that the sources were checked completely. Until then, problems may be missing.
	Checked bool
	// Versions is nil while the versions are unknown.
	Versions []Version
	Imports  []Job
	Pushes   []Job
	Scrub    *Scrub // nil if scrubbing is disabled
	Disks    []Disk
	// Refused is the number of requests for missing or damaged content.
	Refused int64
	// Upstream is the registry in the references of the sources; empty if it is unknown.
	Upstream string
	// DropDir is the directory for dropped bundles, or "" if none is configured.
	DropDir string
}

// Version is a version of the platform, and whether it is ready.
type Version struct {
	Name    string
	Ready   bool
	Reasons []string // why the version is not ready
}

// Job is an import or a push. It has the same fields as drop.Status, so that a drop.Status can be
// converted to a Job.
type Job struct {
	Name   string
	State  string // one of "waiting", "verifying", "published", "pushing", "pushed" and "failed"
	Detail string
	// Since is when the job entered its state.
	Since time.Time
	// Kind is the kind of the dropped bundle; empty for a push.
	Kind string
	// Bytes is how many of the Total bytes are done. Rate is the speed in bytes per second. If the
	// job is not running, Total is 0.
	Bytes, Total, Rate int64
	Generation         uint64 // generation of the store, if the job is published
}

// Scrub is the state of the background verification. It is also part of the document at /status.
type Scrub struct {
	// Rate is the limit in bytes per second.
	Rate int64 `json:"rate"`
	// Bytes is how many bytes were read in the current pass.
	Bytes int64 `json:"bytes"`
	// Total is the total number of bytes in the current pass, read or not.
	Total int64 `json:"total"`
	// Passes is how many passes were completed since the server started.
	Passes int64 `json:"passes"`
	// Ended is when the last complete pass ended, possibly before the server started. nil means
	// that no pass was ever complete.
	Ended *time.Time `json:"ended"`
	// Damaged is the number of copies of blobs found damaged since the server started.
	Damaged int64 `json:"damaged"`
	// Unreadable is the number of failed reads since the server started.
	Unreadable int64 `json:"unreadable"`
}

// Disk is a file system that the server writes to. It is also part of the document at /status.
type Disk struct {
	Path string `json:"path"`
	// Free is how many bytes the user of the server's process can still write.
	Free int64 `json:"free"`
	// Total is the size of the file system in bytes.
	Total int64 `json:"total"`
}
