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

// Job is an import or a push. It has the fields of drop.Status, which can be converted to it.
type Job struct {
	Name   string
	State  string // "waiting", "verifying", "published", "pushing", "pushed" or "failed"
	Detail string
	Since  time.Time // start of the state
	Kind   string    // of the dropped bundle; empty for a push
	// Bytes of Total are done, at Rate bytes per second. Total is 0 unless the job is running.
	Bytes, Total, Rate int64
	Generation         uint64 // of the store, if the job is published
}

// Scrub is the state of the background verification, as in the document of /status.
type Scrub struct {
	Rate       int64      `json:"rate"`       // limit, in bytes per second
	Bytes      int64      `json:"bytes"`      // read in the current pass
	Total      int64      `json:"total"`      // of the current pass
	Passes     int64      `json:"passes"`     // completed since the server started
	Ended      *time.Time `json:"ended"`      // end of the last complete pass, possibly of an earlier server; nil before the first
	Damaged    int64      `json:"damaged"`    // copies of blobs found damaged since the server started
	Unreadable int64      `json:"unreadable"` // failed reads of copies since the server started
}

// Disk is a file system that the server writes to, as in the document of /status.
type Disk struct {
	Path  string `json:"path"`  // a directory on it
	Free  int64  `json:"free"`  // bytes that this user may write
	Total int64  `json:"total"` // bytes
}
