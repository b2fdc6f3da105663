package pull

// Report is the result of a pull.
type Report struct {
	Source     string       `json:"source"`
	Dir        string       `json:"dir"`
	Components []*Component `json:"components"`
	Written    []string     `json:"written"` // files, or layouts of a tree
	Kept       []string     `json:"kept"`    // archives, and files beside them, that did not change
	Missing    []Problem    `json:"missing"` // optional content that is missing in the source
	Problems   []Problem    `json:"holes"`   // of a pull that may be incomplete: see [Plan]
	Images     int          `json:"images"`
	Blobs      int          `json:"blobs"`
	Bytes      int64        `json:"bytes"`   // of the blobs
	Fetched    int64        `json:"fetched"` // received from the registry
	Requests   int64        `json:"requests"`
	Retries    int64        `json:"retries"`
}

// Watch receives the progress of a pull. Its methods may be called from several goroutines.
type Watch interface {
	// Phase reports the start of a phase, and how many bytes it has to process; 0 means unknown.
	Phase(name string, total int64)
	Meter
	// Fetch reports the start of the fetch of a blob, whose bytes go to the transfer. The
	// repository is relative to the source if it is below the source.
	Fetch(repository string, size int64) Transfer
	// Packed reports that an archive was written.
	Packed(name string, size int64)
}

// Transfer is the fetch of one blob. Its bytes also count as bytes of the pull.
type Transfer interface {
	Meter
	// End reports the end of the transfer, even if it failed.
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
