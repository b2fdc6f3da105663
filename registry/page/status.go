package page

import (
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Status is what a server knows beside its tree.
type Status struct {
	Generation   uint64
	Since        time.Time // when the generation was made
	Repositories int
	Tags         int
	Roots        []string
	Sources      []layoutstore.SourceStatus
	Problems     []layoutstore.Problem
	Checked      bool      // whether the problems are all that a check finds
	Versions     []Version // nil until they are known
	Imports      []Job
	Pushes       []Job
	Scrub        *Scrub // nil where none is wanted
	Disks        []Disk
	Refused      int64  // requests for content that is not served
	Upstream     string // the registry in the references of the sources; empty where it is not known
	DropDir      string // empty without one
}

// Version is a version of the platform.
type Version struct {
	Name    string
	Ready   bool
	Reasons []string // why it is not
}

// Job is an import or a push.
type Job struct {
	Name   string
	State  string // "waiting", "verifying", "published", "pushing", "pushed" or "failed"
	Detail string
	Since  time.Time // when the state began
	// Bytes of Total are done, at Rate bytes per second; Total is 0 unless it runs.
	Bytes, Total, Rate int64
	Generation         uint64 // of the store, once published
}

// Scrub is the state of reading everything in the background.
type Scrub struct {
	Bytes, Total        int64 // of the pass under way
	Rate                int64 // bytes per second that it may read
	Ended               time.Time
	Damaged, Unreadable int64 // since the server started
}

// Disk is a file system that the server writes to.
type Disk struct {
	Path        string
	Free, Total int64 // bytes
}
