package page

import (
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Status is what the pages show about a server in addition to its tree.
type Status struct {
	Generation   uint64
	Since        time.Time // start of this generation
	Repositories int
	Tags         int
	Roots        []string
	Sources      []layoutstore.SourceStatus
	Problems     []layoutstore.Problem
	Checked      bool      // whether the check is complete; before that, Problems may grow
	Versions     []Version // nil until they are known
	Imports      []Job
	Pushes       []Job
	Scrub        *Scrub // nil if it is disabled
	Disks        []Disk
	Refused      int64  // number of requests for missing or damaged content
	Upstream     string // the registry in the references of the sources; empty if unknown
	DropDir      string // empty if there is none
}

// Version is a version of the platform.
type Version struct {
	Name    string
	Ready   bool
	Reasons []string // why it is not ready
}

// Job is an import or a push.
type Job struct {
	Name   string
	State  string // "waiting", "verifying", "published", "pushing", "pushed" or "failed"
	Detail string
	Since  time.Time // start of the state
	// Bytes of Total are done, at Rate bytes per second. Total is 0 unless the job is running.
	Bytes, Total, Rate int64
	Generation         uint64 // of the store, if the job is published
}

// Scrub is the state of the background verification.
type Scrub struct {
	Bytes, Total        int64 // of the current pass
	Rate                int64 // limit, in bytes per second
	Ended               time.Time
	Damaged, Unreadable int64 // since the server started
}

// Disk is a file system that the server writes to.
type Disk struct {
	Path        string
	Free, Total int64 // bytes
}
