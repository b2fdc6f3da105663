package pull

// Report is the result of a pull.
type Report struct {
	Source     string       `json:"source"`
	Dir        string       `json:"dir"`
	Components []*Component `json:"components"`
	// Written are the names of files that were written or, for a tree, of layouts.
	Written []string `json:"written"`
	// Kept are archives and files beside them that did not change.
	Kept []string `json:"kept"`
	// Missing is optional content that is missing in the source.
	Missing []Problem `json:"missing"`
	// Problems lists required content that is missing or damaged: see [Plan]. It is empty unless
	// the pull may be incomplete.
	Problems []Problem `json:"holes"`
	Images   int       `json:"images"`
	Blobs    int       `json:"blobs"`
	// Bytes is the total size of the blobs in bytes.
	Bytes int64 `json:"bytes"`
	// Fetched is the number of bytes that were received from the registry.
	Fetched  int64 `json:"fetched"`
	Requests int64 `json:"requests"`
	Retries  int64 `json:"retries"`
}

// Watch receives the progress of a pull. Its methods must be safe for concurrent calls.
type Watch interface {
	// Phase reports that a phase starts. total is the number of bytes that the phase processes, or
	// 0 if it is unknown.
	Phase(name string, total int64)
	Meter
	// Fetch reports that the fetch of a blob starts. The returned transfer receives its progress. A
	// repository below the source is given relative to the source.
	Fetch(repository string, size int64) Transfer
	// Packed reports that an archive was written.
	Packed(name string, size int64)
}

// Transfer receives the progress of one blob's fetch. Its bytes also count as bytes of the pull.
type Transfer interface {
	Meter
	// End reports that the transfer has ended, successfully or not.
	End()
}

type noWatch struct{}

func (noWatch) Phase(string, int64)  {}
func (noWatch) Add(int64)            {}
func (noWatch) End()                 {}
func (noWatch) Packed(string, int64) {}

func (n noWatch) Fetch(string, int64) Transfer { return n }

func (r *run) report() *Report {
	blobs, bytes := r.plan.Blobs()
	s := r.options.Registry.Stats()
	return &Report{
		Source: r.plan.Source, Dir: r.options.Dir, Components: r.plan.Components,
		Written: append([]string{}, r.written...), Kept: append([]string{}, r.kept...),
		Missing: r.plan.Missing, Problems: r.plan.Problems,
		Images: r.plan.Images(), Blobs: blobs, Bytes: bytes,
		Fetched: s.Received, Requests: s.Requests, Retries: s.Retries,
	}
}
