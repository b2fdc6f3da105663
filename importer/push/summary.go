package push

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
)

// Summary is the result of a push.
type Summary struct {
	Blobs     BlobCounts `json:"blobs"`
	Manifests Counts     `json:"manifests"`
	Tags      TagCounts  `json:"tags"`
	// ReferrersTags is the number of referrers tags that the push wrote.
	ReferrersTags int `json:"referrersTags"`
	// Relisted is the number of manifests that were put again to be listed as referrers.
	Relisted  int     `json:"relisted"`
	BytesSent int64   `json:"bytesSent"`
	Requests  int64   `json:"requests"`
	Retries   int64   `json:"retries"`
	Seconds   float64 `json:"seconds"`
	// Slowest is nil if no blob was sent.
	Slowest *Slowest `json:"slowest"`
	// Notices are limitations that are not failures, and the notices of the plan.
	Notices []string `json:"notices"`
	// Differences are content that the registry acknowledged but does not have as planned.
	Differences []Difference `json:"gaps"`
	Complete    bool         `json:"complete"` // whether the registry has everything in the plan
}

// BlobCounts counts blobs. A blob counts once for each repository.
type BlobCounts struct {
	Pushed  int `json:"pushed"`
	Mounted int `json:"mounted"`
	Present int `json:"present"`
}

// Counts counts manifests.
type Counts struct {
	Pushed  int `json:"pushed"`
	Present int `json:"present"`
}

// TagCounts counts tags. A replaced tag led to a different manifest before. It also counts as pushed.
type TagCounts struct {
	Pushed   int `json:"pushed"`
	Present  int `json:"present"`
	Replaced int `json:"replaced"`
}

// Slowest is the blob whose transfer took longest.
type Slowest struct {
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"`
	Seconds    float64       `json:"seconds"`
}

// Written reports whether anything was written.
func (s Summary) Written() bool {
	return s.Blobs.Pushed+s.Blobs.Mounted+s.Manifests.Pushed+s.Tags.Pushed+s.ReferrersTags+s.Relisted > 0
}

func (s *Summary) updateSlowest(repository string, b *Blob, took time.Duration) {
	if s.Slowest == nil || took.Seconds() > s.Slowest.Seconds {
		s.Slowest = &Slowest{repository, b.Digest, b.Size, took.Seconds()}
	}
}

// maxDifferences is the maximum number of differences that are printed for people.
const maxDifferences = 20

// WriteText prints the summary for people.
func (s Summary) WriteText(w io.Writer) error {
	if s.Complete && !s.Written() {
		blobs := ""
		if s.Blobs.Present > 0 {
			blobs = fmt.Sprintf(", with the %d blobs that they need", s.Blobs.Present)
		}
		_, err := fmt.Fprintf(w, "nothing to push: all %d manifests are there already%s, and their %d tags lead to them; %d requests, %.1f s\n",
			s.Manifests.Present, blobs, s.Tags.Present, s.Requests, s.Seconds)
		return err
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "tags:      %d pushed (%d of them replaced), %d present\n", s.Tags.Pushed, s.Tags.Replaced, s.Tags.Present)
	fmt.Fprintf(b, "manifests: %d pushed, %d present\n", s.Manifests.Pushed, s.Manifests.Present)
	fmt.Fprintf(b, "blobs:     %d pushed, %d mounted, %d present\n", s.Blobs.Pushed, s.Blobs.Mounted, s.Blobs.Present)
	fmt.Fprintf(b, "sent:      %s in %.1f s, %d requests, %d retries\n", humanize.Bytes(uint64(s.BytesSent)), s.Seconds, s.Requests, s.Retries)
	if s.Slowest != nil {
		fmt.Fprintf(b, "slowest:   %s of %s, %s in %.1f s\n", s.Slowest.Digest, s.Slowest.Repository, humanize.Bytes(uint64(s.Slowest.Size)), s.Slowest.Seconds)
	}
	for _, d := range s.Differences[:min(len(s.Differences), maxDifferences)] {
		fmt.Fprintln(b, d)
	}
	if more := len(s.Differences) - maxDifferences; more > 0 {
		fmt.Fprintf(b, "… and %d more: --output json has all of them\n", more)
	}
	return b.Flush()
}
