package pull

// Report is the result of a pull.
type Report struct {
	Source     string       `json:"source"`
	Dir        string       `json:"dir"`
	Components []*Component `json:"components"`
	Written    []string     `json:"written"` // files of archives, or layouts of a tree
	Kept       []string     `json:"kept"`    // archives that did not change
	Missing    []Problem    `json:"missing"` // optional, and missing in the source
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
	// Phase starts a phase that has to process so many bytes; 0 is unknown.
	Phase(name string, total int64)
	Meter
	// Fetch starts to fetch a blob of a repository, whose path below the source is given if it
	// is below. Its bytes go to what is returned.
	Fetch(repository string, size int64) Transfer
	// Packed reports that an archive was written.
	Packed(name string, size int64)
}

// Transfer is a blob that is fetched. Its bytes count for the pull too.
type Transfer interface {
	Meter
	// End reports the end of the transfer, also one that failed.
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
